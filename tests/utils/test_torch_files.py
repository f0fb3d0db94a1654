"""Files of torch.save that are not what was written, or not what is wanted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nst_lightning.callbacks.checkpoint import AtomicCheckpointIO
from nst_lightning.errors import UserError
from nst_lightning.tasks.style_transfer import StyleTransfer
from nst_lightning.utils.torch_files import check_checkpoint, load_tensors


def content() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "state_dict": {"image": torch.rand(1, 3, 12, 12, generator=generator)},
        "loops": {"fit_loop": {"state": [1, (2, "x")]}},
        "callbacks": {},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.rand(40, generator=generator)}}}],
        "global_step": 3,
    }


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    AtomicCheckpointIO().save_checkpoint(content(), tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_whatever_bit_is_flipped_the_file_is_refused_or_means_the_same(file: Path) -> None:
    plain = file.read_bytes()
    refused = 0
    for position in range(0, len(plain), 3):
        damaged = bytearray(plain)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        try:
            found = load_tensors(file)
        except ValueError:
            refused += 1
        else:
            assert same(found, content()), position
    assert refused > len(plain) / 6  # what is between the parts has no meaning


@pytest.mark.parametrize("method", [8, 12, 14, 93])  # deflate, bzip2, LZMA, Zstandard
def test_a_part_that_is_not_compressed_as_it_says_is_damage(method: int, file: Path) -> None:
    plain = bytearray(file.read_bytes())
    for entry in re.finditer(re.escape(b"PK\1\2"), bytes(plain)):  # of the directory at the end
        plain[entry.start() + 10 : entry.start() + 12] = method.to_bytes(2, "little")
    file.write_bytes(plain)
    with pytest.raises(UserError, match="is damaged or not a checkpoint") as caught:
        check_checkpoint(file)
    assert "\n" not in str(caught.value)


def test_a_bit_of_the_image_is_named(file: Path) -> None:
    plain, pixels = bytearray(file.read_bytes()), content()["state_dict"]["image"].numpy().tobytes()
    plain[plain.index(pixels) + 5] ^= 4
    file.write_bytes(plain)
    torch.load(file, weights_only=True)  # which does not notice
    with pytest.raises(UserError, match=r"last\.ckpt is damaged or not a checkpoint .*does not have its digest"):
        StyleTransfer.load_from_checkpoint(file)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_file_is_refused(share: float, file: Path) -> None:
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(UserError, match="is damaged or not a checkpoint") as caught:
        check_checkpoint(file)
    assert "\n" not in str(caught.value)


FOREIGN: dict[str, Any] = {
    "the weights of a network": ({"features.0.weight": torch.ones(2)}, "it lacks 'state_dict'"),
    "a list": ([1], "it holds a list"),
    "a tensor": (torch.ones(2), "it holds a Tensor"),
    "a checkpoint of weights alone": ({"state_dict": {}, "loops": {}, "callbacks": {}}, "it lacks 'optimizer_states'"),
    "another program's": ({"state_dict": {}, "epoch": 3, "optimizer": {}}, "it lacks 'loops'"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_another_programs_file_is_refused(name: str, tmp_path: Path) -> None:
    found, reason = FOREIGN[name]
    torch.save(found, tmp_path / "other.pth")
    with pytest.raises(UserError, match=reason):
        check_checkpoint(tmp_path / "other.pth")


def test_a_file_without_digests_is_read_as_ever(tmp_path: Path) -> None:
    """As torch before 1.6 wrote them."""
    torch.save(content(), tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert same(check_checkpoint(tmp_path / "old.ckpt"), content())

"""Transformer networks as files: the small one that is kept, or the checkpoint of a training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.networks.shipped import network_path
from nst_lightning.networks.transformer import TransformerNet
from nst_lightning.utils.atomic import atomic_path

CHECKPOINT_KEY = "fast_style_transfer"
"""Where `FastStyleTransfer` puts what a checkpoint's tensors do not tell."""

_PREFIX = "network."  # of the network's tensors in such a checkpoint
_EXPECTED = "expected a transformer network (.safetensors, or .ckpt of a FastStyleTransfer run)"


@dataclass(frozen=True)
class NetworkCard:
    """What goes with a network's weights.

    Attributes:
        architecture: Arguments of `TransformerNet`.
        styles: Names, in the order of the style weights.
        encoder: Digest of the encoder that the losses looked through.
    """

    architecture: dict[str, int]
    styles: tuple[str, ...]
    encoder: str

    def as_dict(self) -> dict[str, Any]:
        """Give plain containers, as a checkpoint holds them."""
        return {"architecture": dict(self.architecture), "styles": list(self.styles), "encoder": self.encoder}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> NetworkCard:
        """Undo `as_dict`; raise KeyError, TypeError or ValueError for anything else."""
        architecture = {str(key): int(value) for key, value in saved["architecture"].items()}
        return cls(architecture, tuple(map(str, saved["styles"])), str(saved["encoder"]))


def save_network(network: TransformerNet, path: str | Path, styles: Sequence[str], encoder: str) -> None:
    """Write a network as float16, about 2 bytes a weight; the file appears whole or not at all.

    Args:
        network: To be kept.
        path: A `.safetensors` file; its folder is made.
        styles: Their names, one for each.
        encoder: Digest of the encoder that it was trained with.

    Raises:
        UserError: If the file can't be written.
    """
    card = NetworkCard(network.architecture(), tuple(styles), encoder)
    halves = {key: value.detach().half().cpu().contiguous() for key, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        # Not `save_file`, whose file nobody but its owner can read.
        temporary.write_bytes(save(halves, {"transformer": json.dumps(card.as_dict())}))


def load_network(name_or_path: str | Path) -> tuple[TransformerNet, NetworkCard]:
    """Read a network.

    Args:
        name_or_path: A shipped network's name, a `.safetensors` file that `save_network` wrote, or a checkpoint of a
            `FastStyleTransfer` run.

    Returns:
        The network, float32 on the CPU, in evaluation mode; and its card.

    Raises:
        UserError: If the file is missing, damaged or another kind.
    """
    file = network_path(str(name_or_path))
    if not file.is_file():
        raise UserError(f"{_EXPECTED}, found nothing at {file}; check the path")
    try:
        state, saved = _read_safetensors(file) if file.suffix == ".safetensors" else _read_checkpoint(file)
        card = NetworkCard.from_dict(saved)
        network = TransformerNet(**card.architecture)
        network.load_state_dict(state)
    except Exception as error:  # what a damaged or foreign file trips has no common class
        raise UserError(f"{_EXPECTED}, found something else in {file}; give another file") from error
    return network.eval(), card


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(file, framework="pt") as opened:
        state = {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata() or {}
    saved: dict[str, Any] = json.loads(metadata["transformer"])
    return state, saved


def _read_checkpoint(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    state = {key.removeprefix(_PREFIX): value.float() for key, value in checkpoint["state_dict"].items()}
    saved: dict[str, Any] = checkpoint[CHECKPOINT_KEY]
    return state, saved

"""The bytes of checkpoint files."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch

from nst_lightning.callbacks.checkpoint import AtomicCheckpointIO


def test_equal_checkpoints_give_equal_bytes_whatever_objects_they_share(tmp_path: Path) -> None:
    """As of a resumed run, whose strings and tuples come from a file, and of one that never stopped."""

    def checkpoint(shared: bool) -> dict[str, object]:
        name, betas = "foreach", (0.9, 0.99)
        other = name if shared else "".join(iter(name))
        other_betas = betas if shared else tuple(iter(betas))
        state = OrderedDict(image=torch.ones(1, 3, 2, 2))
        state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
        groups = [{name: None, "betas": betas}, {other: None, "betas": other_betas}]
        return {"state_dict": state, "groups": groups, "step": 3}

    writer = AtomicCheckpointIO()
    for shared in (True, False):
        writer.save_checkpoint(checkpoint(shared), tmp_path / f"{shared}.ckpt")
    assert (tmp_path / "True.ckpt").read_bytes() == (tmp_path / "False.ckpt").read_bytes()
    read = torch.load(tmp_path / "True.ckpt", weights_only=True)
    assert read["groups"] == [{"foreach": None, "betas": (0.9, 0.99)}] * 2
    assert read["state_dict"]._metadata == {"": {"version": 1}}
    assert torch.equal(read["state_dict"]["image"], torch.ones(1, 3, 2, 2))

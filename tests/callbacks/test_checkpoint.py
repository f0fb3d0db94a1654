"""The bytes of checkpoint files, and when a run that is told to stop does."""

from __future__ import annotations

import signal
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nst_lightning.callbacks.checkpoint import AtomicCheckpointIO, CheckpointWriter


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


class Signalled(LightningModule):
    """Fit a number; a signal comes in the third step of the first run."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros(()))
        self.signals = 1

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if batch_idx == 2 and self.signals:
            self.signals -= 1
            signal.raise_signal(signal.SIGTERM)
        return (self.number - batch.mean()).square()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_second_run_knows_nothing_of_the_firsts_signal(tmp_path: Path) -> None:
    writer, module = CheckpointWriter(), Signalled()
    found = []
    for _ in range(2):
        trainer = Trainer(
            max_epochs=1,
            accelerator="cpu",
            devices=1,
            logger=False,
            callbacks=[writer],
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, DataLoader(torch.ones(6, 1)))
        found.append((trainer.global_step, writer.stopped_by))
    assert found == [(3, signal.SIGTERM), (6, None)]


class Shared:
    """As much of the Trainer of two processes as `CheckpointWriter` looks at."""

    def __init__(self, steps: int, device: str = "cpu") -> None:
        self.world_size = 2
        self.strategy = SimpleNamespace(root_device=torch.device(device))
        self.num_training_batches, self.max_steps, self.global_step = steps, -1, 0
        self.should_stop = False


@pytest.mark.parametrize(("signalled", "stops_after"), [(3, 4), (4, None), (5, None)])
def test_processes_stop_after_the_step_that_all_have_heard_of(
    signalled: int, stops_after: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one gets the signal in a step, counted from 1, of five; what is complete then has not been stopped."""
    writer, trainer = CheckpointWriter(), Shared(5)
    monkeypatch.setattr(writer, "save", lambda _: None)

    def all_reduce(number: Tensor, operation: Any) -> None:
        assert operation == dist.ReduceOp.MAX
        number.clamp_(min=float(signal.SIGINT) if trainer.global_step >= signalled else 0.0)

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    while trainer.global_step < 5 and not trainer.should_stop:
        trainer.global_step += 1
        writer.on_train_batch_end(trainer, None, None, None, trainer.global_step - 1)  # type: ignore[arg-type]
    assert trainer.global_step == (stops_after or 5)
    assert writer.stopped_by == (signal.SIGINT if stops_after else None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_to_agree_does_not_wait_for_the_steps_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_reduce", lambda number, operation: None)
    writer, trainer = CheckpointWriter(), Shared(5, "cuda")
    writer.agree_on_stop(trainer)  # type: ignore[arg-type]
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # about a second's work
    assert writer.agree_on_stop(trainer) is None  # type: ignore[arg-type]
    assert not torch.cuda.current_stream().query()
    torch.cuda.synchronize()

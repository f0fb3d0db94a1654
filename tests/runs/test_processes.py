"""Processes of one command: as many as asked for, or none; they end as the first one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from nst_lightning import VGG19, StyleTransfer, TotalVariationLoss, TransferData, UserError, fit
from nst_lightning._compat import is_peer_failure
from nst_lightning.callbacks.checkpoint import CheckpointWriter
from nst_lightning.cli.main import main
from nst_lightning.runs.fit_command import run_command
from nst_lightning.runs.ranks import wait_for_rank_zero

from .conftest import fit_words

HELPERS = Path(__file__).parents[1] / "helpers"
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
SLURM = {"SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "3", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "paint"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        (TORCHRUN, [], "torchrun started 2 processes, but trainer.devices is 1; set --trainer.devices 2."),
        (
            {**TORCHRUN, "WORLD_SIZE": "4"},
            ["--trainer.devices", "2"],
            "torchrun started 4 processes, but trainer.devices is 2; set --trainer.devices 2 --trainer.num_nodes 2.",
        ),
        (
            {**SLURM, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
            [],
            "SLURM started 6 processes, but trainer.devices is 1; set --trainer.devices 3 --trainer.num_nodes 2.",
        ),
    ],
)
def test_a_launcher_and_the_devices_have_to_agree(
    environment: dict[str, str],
    options: list[str],
    message: str,
    nst: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert nst(*options) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"nst: {message}"
    assert not Path("lightning_logs").exists()


@pytest.mark.slow
def test_a_launcher_and_the_devices_of_predict_have_to_agree(
    any_style_file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else each process would paint everything."""
    monkeypatch.chdir(tmp_path)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    words = ["predict", "--data.images=sample:town", "--data.style=sample:starry", f"--model.network={any_style_file}"]
    assert main([*words, "--trainer.accelerator=cpu"]) == 2
    expected = "nst: torchrun started 2 processes, but trainer.devices is 1; set --trainer.devices 2."
    assert capsys.readouterr().err.splitlines()[-1] == expected
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("group", [False, True], ids=["launched", "launched and in a process group"])
def test_from_python_one_device_asked_for_paints_a_picture_of_its_own(
    group: bool, encoder_file: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process group whose exchanges give nonsense: nothing may be exchanged."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def paint(**settings: Any) -> torch.Tensor:
        model = StyleTransfer(VGG19(encoder_file, padding="replicate"), variation=TotalVariationLoss())
        data = TransferData(content, sizes=[24], steps=3)
        quiet: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False, "default_root_dir": tmp_path}
        return fit(model, data, **quiet, **settings).picture

    alone = paint()
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    if group:
        dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    try:
        assert torch.equal(paint(devices=1), alone)
    finally:
        if group:
            dist.destroy_process_group()
    with pytest.raises(UserError, match="torchrun started 2 processes"):
        paint()


@pytest.mark.slow
@pytest.mark.processes
def test_no_process_ends_the_first_while_it_writes(tmp_path: Path, encoder_file: str, content: str, style: str) -> None:
    written = tmp_path / "written"
    words = fit_words("starry", encoder_file, content, style)
    done = subprocess.run(
        [sys.executable, str(HELPERS / "ending_together.py"), str(written), *words, "--trainer.devices", "2"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HELPERS.parents[1])},
        stderr=subprocess.PIPE,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert written.exists()
    assert list(tmp_path.rglob("stylized.png"))
    assert done.stderr.count("nst: it diverged.") == 1


@pytest.mark.parametrize(("first", "code"), [(True, 143), (False, 0)])
def test_only_the_first_says_that_the_run_was_stopped(first: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it not alone in that, it would be killed as soon as another one says so."""
    writer = CheckpointWriter()
    writer.stopped_by = signal.SIGTERM
    ended = SimpleNamespace(trainer=SimpleNamespace(checkpoint_callbacks=[writer], is_global_zero=first))
    monkeypatch.setattr("nst_lightning.runs.fit_command.run_to_the_end", lambda *_: ended)
    assert run_command([]) == code


def test_an_error_is_left_to_rank_zero_only_if_it_has_met_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = dist.HashStore()
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", lambda: store)
    monkeypatch.setattr("nst_lightning.runs.ranks._PATIENCE", store.timeout / 3000)
    first, second = (SimpleNamespace(world_size=2, is_global_zero=zero) for zero in (True, False))
    assert not wait_for_rank_zero(second)  # type: ignore[arg-type]
    assert not wait_for_rank_zero(SimpleNamespace(world_size=1, is_global_zero=True))  # type: ignore[arg-type]
    assert not wait_for_rank_zero(second)  # type: ignore[arg-type]
    monkeypatch.setattr("nst_lightning.runs.ranks._PATIENCE", store.timeout)
    late = threading.Timer(0.2, wait_for_rank_zero, [first])
    late.start()
    assert wait_for_rank_zero(second)  # type: ignore[arg-type]
    late.join()


@pytest.mark.parametrize(
    "message",
    [
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1234",
        "[pair.cc:537] Read error [127.0.0.1]:4567: Connection reset by peer",
        "[pair.cc:310] writev [127.0.0.1]:4567: Broken pipe",
        "NCCL error in: ProcessGroupNCCL.cpp:3690, remote process exited or there was a network error, NCCL version "
        "2.27.5\nncclRemoteError: A call failed possibly due to a network error or a remote process exiting "
        "prematurely.\nLast error:\nsocketProgress: Connection closed by remote peer node1<43210>",
        "NCCL communicator was aborted on rank 0.",
        "failed to recv, got 0 bytes. Connection was likely closed. Did the remote server shutdown or crash?",
    ],
)
def test_a_broken_connection_is_another_processs_end(message: str) -> None:
    assert is_peer_failure(RuntimeError(message))


@pytest.mark.parametrize(
    "message",
    [
        "NCCL error in: NCCLUtils.cpp:94, invalid usage\nDuplicate GPU detected : rank 0 and rank 1 both on one",
        "mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)",
        "Peer access is not supported between these two devices",
    ],
)
def test_other_errors_are_not(message: str) -> None:
    assert not is_peer_failure(RuntimeError(message))

"""Every touch of other libraries' private or fragile parts, one test each: what a new release of them has to pass."""

from __future__ import annotations

import asyncio
import csv
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import jsonargparse
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.backend_context import Context as HParamsContext
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from nst_lightning import _compat
from tests.helpers.callables import Caller

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class _Command(_compat.CLIHooks, LightningCLI):
    """Notes which hooks are called, with what, and in which order."""

    called: list[str]

    def __init__(self, *args: str) -> None:
        self.called = []
        super().__init__(
            BoringModel, BoringDataModule, trainer_defaults=QUIET, save_config_callback=None, args=["fit", *args]
        )

    def resolve_checkpoint(self) -> None:
        self.called.append(f"checkpoint {self.config.fit.ckpt_path}")

    def set_seed(self) -> None:
        self.called.append("seed")
        super().set_seed()

    def instantiate_classes(self) -> None:
        self.called.append("instantiate")
        super().instantiate_classes()

    def run_subcommand(self, subcommand: str) -> None:
        self.called.append(f"run {subcommand}")
        super().run_subcommand(subcommand)

    def subcommand_arguments(self, subcommand: str) -> dict[str, Any]:
        arguments = super().subcommand_arguments(subcommand)
        self.called.append(f"arguments {sorted(arguments)}")
        return {**arguments, "ckpt_path": None}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> _Command:
    """A command that has trained for a step, from a checkpoint that is not there."""
    monkeypatch.setattr(sys, "argv", ["nst"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Command("--trainer.max_steps=1", "--seed_everything=7", "--ckpt_path=nowhere.ckpt")


@pytest.mark.slow
def test_no_packages_for_stores_are_imported_for_local_files(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.local import LocalFileSystem
    from lightning.fabric.utilities import cloud_io

    asked: list[object] = []
    monkeypatch.setattr(cloud_io, "_is_object_storage", lambda fs: bool(asked.append(fs)) or True)
    _compat.ask_no_store_of_local_files()
    _compat.ask_no_store_of_local_files()
    assert not cloud_io._is_object_storage(LocalFileSystem())
    assert cloud_io._is_object_storage("another")
    assert asked == ["another"]
    code = "from nst_lightning import _compat; _compat.let_tensorboard_name_any_file(); import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tensorboard.compat.tensorflow_stub.io.gfile" in loaded
    assert not {"boto3", "botocore", "s3fs"} & set(loaded)


def test_cli_hooks(command: _Command) -> None:
    assert command.called == [
        "checkpoint nowhere.ckpt",
        "seed",
        "instantiate",
        "run fit",
        "arguments ['ckpt_path', 'datamodule', 'model', 'weights_only']",
    ]
    assert torch.initial_seed() == 7
    assert command.trainer.global_step == 1


def test_setting(command: _Command) -> None:
    assert command.setting("trainer.max_steps") == 1
    assert command.setting("nothing") is None


def test_subcommand_parser(command: _Command) -> None:
    text = command.subcommand_parser().dump(command.config["fit"])
    assert "max_steps: 1" in text


class Inner:
    """A class with settings."""

    def __init__(self, weight: float = 1.0, kind: Literal["gram", "mean"] = "gram") -> None: ...


def _message(*args: str, config: str = "") -> str:
    """What jsonargparse says of a mistake."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--steps", type=int | list[int] | None)
    parser.add_argument("--style.kind", type=Literal["gram", "mean"])
    parser.add_subclass_arguments(Inner, "inner", required=False)
    with pytest.raises((jsonargparse.ArgumentError, SystemExit, ValueError, TypeError)) as caught:
        parser.parse_args(list(args))
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Callable[[int], Optimizer], "{class_path: os.getcwd}", "'os' entry of the import path denylist"),
        (Callable[[int], Optimizer], "{class_path: torch.hub.get_dir}", "Expected Optimizer, or a function annotated"),
        (Callable[[int], float] | None, "tests.helpers.callables.anything", "Expected float, or a function annotated"),
        (Callable, "tests.helpers.callables.half", "nothing may be named here"),
        (Callable[[int], float], "tests.helpers.callables.half", ""),
        (Callable[[Any], Optimizer], "{class_path: torch.optim.SGD, init_args: {lr: 0.5}}", ""),
    ],
)
def test_restrict_configs(kind: Any, value: str, message: str) -> None:
    _compat.restrict_configs()
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--function", type=kind)
    if not message:
        assert callable(parser.instantiate(parser.parse_args([f"--function={value}"])).function)
        return
    with pytest.raises(jsonargparse.ArgumentError, match=message):
        parser.parse_args([f"--function={value}"])


def test_nothing_is_made_where_anything_may_be_given() -> None:
    _compat.restrict_configs()
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--anything", type=Any)
    given = parser.parse_args(["--anything={class_path: tests.helpers.callables.Caller}"])
    assert not isinstance(parser.instantiate(given).anything, Caller)


def test_option_names() -> None:
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("-c", "--steps", type=int)
    assert _compat.option_names(parser) == ["h", "help", "c", "steps"]


def test_unknown_option() -> None:
    assert _compat.unknown_option(_message("--stepps", "3")) == "stepps"
    assert _compat.unknown_option(_message("--steps", "x")) is None


def test_refused_key() -> None:
    assert _compat.refused_key(_message("--steps", "x")) == "steps"
    assert _compat.refused_key(_message("--stepps", "x")) == ""


def test_unknown_setting() -> None:
    assert _compat.unknown_setting(_message("--inner", "Inner", "--inner.weigth", "1")) == "weigth"
    assert _compat.unknown_setting(_message("--config", "{stepps: 3}")) == "stepps"
    assert _compat.unknown_setting(_message("--steps", "x")) is None


def test_given_value() -> None:
    assert _compat.given_value(_message("--steps", "many")) == "many"
    assert _compat.given_value(_message("--style.kind", "gramm")) == "gramm"
    assert _compat.given_value(_message("--stepps", "x")) == ""


def test_type_mismatches() -> None:
    assert _compat.type_mismatches(_message("--steps", "many")) == ["expected int", "expected list"]
    assert _compat.type_mismatches(_message("--style.kind", "gramm")) == ["expected one of gram, mean"]


def test_literal_choices() -> None:
    assert _compat.literal_choices(_message("--style.kind", "gramm")) == ["gram", "mean"]
    assert _compat.literal_choices(_message("--steps", "x")) == []


@pytest.mark.parametrize(
    "settings",
    [{"devices": "abc"}, {"num_nodes": 0}, {"accelerator": "gpuu"}, {"strategy": "nonsense"}],
)
def test_is_about_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any kind: that is the matter
        Trainer(**{**QUIET, **settings})
    assert _compat.is_about_settings(caught.value)


def test_other_errors_are_not_about_settings() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert not _compat.is_about_settings(caught.value)


def test_silence_lightning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(logging.getLogger("nst_lightning"), "level", logging.INFO)
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    with warnings.catch_warnings():
        _compat.silence_lightning()
        with warnings.catch_warnings(record=True) as caught:  # keeps the filters
            model, data = BoringModel(), BoringDataModule()
            Trainer(**QUIET, max_steps=1, log_every_n_steps=1000).fit(model, data)
    texts = [str(warning.message) for warning in caught]
    silenced = ("LeafSpec", "smaller than the logging interval", "`srun` command")
    assert not [text for text in texts if any(part in text for part in silenced)]
    assert not logging.getLogger("lightning.pytorch").isEnabledFor(logging.INFO)
    assert logging.getLogger("nst_lightning").level == logging.INFO


def test_silence_lightning_in_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("nst_lightning"), "level", logging.INFO)
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    with warnings.catch_warnings():
        _compat.silence_lightning()
    assert logging.getLogger("nst_lightning").level == logging.ERROR


def test_allow_idle_ranks() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _compat.allow_idle_ranks()
        empty = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(0, 32)))
        Trainer(**QUIET).predict(BoringModel(), empty)
    assert not [warning for warning in caught if "across ranks is zero" in str(warning.message)]


def test_is_second_interrupt() -> None:
    class Interrupt(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            raise KeyboardInterrupt

    trainer = Trainer(**QUIET, max_steps=1, callbacks=[Interrupt()])
    with pytest.raises(SystemExit) as caught:
        trainer.fit(BoringModel(), BoringDataModule())
    assert _compat.is_second_interrupt(caught.value)
    assert not _compat.is_second_interrupt(SystemExit(143))


def test_callbacks_of() -> None:
    mine = Callback()
    assert mine in _compat.callbacks_of(Trainer(**QUIET, callbacks=[mine]))


def test_is_dev_run() -> None:
    assert not _compat.is_dev_run(Trainer(**QUIET))
    assert _compat.is_dev_run(Trainer(**QUIET, fast_dev_run=2))


def test_is_attached() -> None:
    module = BoringModel()
    assert not _compat.is_attached(module)
    Trainer(**QUIET, max_steps=1).fit(module)
    assert _compat.is_attached(module)


def test_datamodule_of() -> None:
    trainer, data = Trainer(**QUIET, max_steps=1), BoringDataModule()
    assert _compat.datamodule_of(trainer) is None
    seen: list[LightningDataModule | None] = []

    class Model(BoringModel):
        def on_train_start(self) -> None:
            seen.append(_compat.datamodule_of(self.trainer))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Model(), data)
    assert seen == [data]


def test_keep_buffers_local(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = DDPStrategy(find_unused_parameters=True)
    _compat.keep_buffers_local(strategy)
    given: dict[str, Any] = {}
    monkeypatch.setattr("lightning.pytorch.strategies.ddp.DistributedDataParallel", lambda **kw: given.update(kw))
    monkeypatch.setattr(strategy, "determine_ddp_device_ids", lambda: None)
    strategy._setup_model(BoringModel())
    assert given["broadcast_buffers"] is False
    assert given["find_unused_parameters"] is True


def test_set_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = DDPStrategy(process_group_backend="gloo")
    _compat.set_timeout(strategy, timedelta(days=7))
    given: dict[str, Any] = {}
    monkeypatch.setattr("lightning.pytorch.strategies.ddp._init_dist_connection", lambda *_, **kw: given.update(kw))
    monkeypatch.setattr(strategy, "set_world_ranks", lambda: None)
    strategy.parallel_devices = [torch.device("cpu")]
    strategy.cluster_environment = SimpleNamespace(local_rank=lambda: 0)  # type: ignore[assignment]
    strategy.setup_distributed()
    assert given["timeout"] == timedelta(days=7)


@pytest.mark.parametrize("method", ["popen", "spawn"])
def test_start_method(method: Literal["popen", "spawn"]) -> None:
    assert _compat.start_method(DDPStrategy(start_method=method)) == method
    assert _compat.start_method(DDPStrategy(start_method=_compat.start_method(DDPStrategy()))) == "popen"


def test_rebuild_optimizers() -> None:
    class Growing(BoringModel):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                self.layer = torch.nn.Linear(32, 2)
                _compat.rebuild_optimizers(self.trainer)

    model = Growing()
    trainer = Trainer(**QUIET, max_steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(model, BoringDataModule())
    assert trainer.global_step == 3
    assert trainer.optimizers[0].param_groups[0]["params"][0] is model.layer.weight


def test_leave_epoch_open(tmp_path: Path) -> None:
    """A run of 2 batches, resumed with 4: it goes on with the third."""

    class Model(BoringModel):
        def __init__(self, open_end: bool) -> None:
            super().__init__()
            self.open_end = open_end
            self.seen: list[int] = []

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen.append(batch_idx)
            return super().training_step(batch, batch_idx)

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            if self.open_end:
                _compat.leave_epoch_open(checkpoint)

    class Save(Callback):
        def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
            if args[-1] == 1:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    def seen(open_end: bool) -> list[int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first, second = Model(open_end), Model(open_end)
            settings = {**QUIET, "max_epochs": 1, "limit_val_batches": 0}
            Trainer(**settings, limit_train_batches=2, callbacks=[Save()]).fit(first, BoringDataModule())
            trainer = Trainer(**settings, limit_train_batches=4)
            trainer.fit(second, BoringDataModule(), ckpt_path=tmp_path / "last.ckpt")
        assert first.seen == [0, 1]
        return second.seen

    assert seen(open_end=True) == [2, 3]
    assert seen(open_end=False) == []


def test_rendezvous_store() -> None:
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        _compat.rendezvous_store().set("nst/test", "value")
        assert _compat.rendezvous_store().get("nst/test") == b"value"
    finally:
        dist.destroy_process_group()


_PEER = """
import sys, torch, torch.distributed as dist
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
dist.all_reduce(torch.ones(1))
if rank:
    sys.exit(0)
from nst_lightning._compat import is_peer_failure
try:
    while True:
        dist.all_reduce(torch.ones(1))
except RuntimeError as error:
    print(is_peer_failure(error), error)
"""


@pytest.mark.slow
@pytest.mark.processes
def test_is_peer_failure(tmp_path: Path) -> None:
    """What this torch's gloo says when the other process ends; other messages are in tests/runs/test_processes.py."""
    processes = [
        subprocess.Popen([sys.executable, "-c", _PEER, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE)
        for rank in (0, 1)
    ]
    said = processes[0].communicate(timeout=200)[0].decode()
    processes[1].communicate(timeout=200)
    assert "True " in said, said


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_winograd_convolution(padding: int) -> None:
    if not torch.backends.nnpack.is_available():
        pytest.skip("this torch has no NNPACK")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 8, 20, 17, generator=generator)
    weight, bias = torch.randn(4, 8, 3, 3, generator=generator), torch.randn(4, generator=generator)
    y = _compat.winograd_convolution(x, weight, bias, padding)
    torch.testing.assert_close(y, F.conv2d(x, weight, bias, padding=padding), rtol=1e-4, atol=1e-4)


def test_cpu_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(isinstance(name, str) for name in _compat.cpu_capabilities())
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert _compat.cpu_capabilities() == {"amx_bf16": True}
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert _compat.cpu_capabilities() == {}


def test_hold_pixels(tmp_path: Path) -> None:
    class Frames(Image.Image):
        """Two frames as one image."""

        n_frames = 2

        def seek(self, frame: int) -> None:
            if frame > 1:
                raise EOFError
            _compat.hold_pixels(self, Image.new("RGB", (6, 4), ["red", "blue"][frame]))

        def tell(self) -> int:
            return 0

    frames = Frames()
    frames.seek(1)
    assert (frames.size, frames.mode, frames.getpixel((5, 3))) == ((6, 4), "RGB", (0, 0, 255))
    frames.save(tmp_path / "frames.webp", "WEBP", save_all=True, lossless=True)
    with Image.open(tmp_path / "frames.webp") as written:
        assert [written.n_frames, written.size] == [2, (6, 4)]
        assert written.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
def test_http_protocol_with_deadline(head: bytes) -> None:
    uvicorn = pytest.importorskip("uvicorn")

    async def app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        await asyncio.sleep(0.5)  # longer than the deadline, which is for the request's head alone
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def talk(head: bytes) -> bytes:
        protocol = _compat.http_protocol_with_deadline(lambda: 0.2)
        config = uvicorn.Config(app, http=protocol, log_config=None, lifespan="off", port=0)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving
        return answer

    assert asyncio.run(talk(head)) == b""
    whole = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert asyncio.run(talk(whole)).startswith(b"HTTP/1.1 204 ")


def test_an_event_that_cant_be_written_is_raised_once_and_leaves_whole_events(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import resource

    from torch.utils.tensorboard import SummaryWriter

    from nst_lightning.utils.atomic import storage_error

    writer = SummaryWriter(str(tmp_path))
    _compat.guard_event_file(writer, storage_error)
    writer.add_scalar("a", 1.0, 0)
    writer.flush()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, before[1]))
    try:
        writer.add_scalar("a", 1.0, 1)
        with pytest.raises(ValueError, match=r"cannot write .*tfevents.* \(File too large\); 1 kB more are needed"):
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.read_bytes() == whole
    assert capfd.readouterr().err == ""


def test_what_cant_be_restored_is_told_from_other_errors(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(Exception) as caught:  # noqa: PT011
        Trainer(max_epochs=1, **QUIET).fit(BoringModel(), ckpt_path=str(tmp_path / "x.ckpt"))
    assert _compat.is_about_checkpoint(caught.value)
    assert not _compat.is_about_checkpoint(KeyError("x"))


@pytest.mark.slow
def test_bound_yaml() -> None:
    """In a process of its own: the loader is jsonargparse's for good."""
    program = """
import yaml, jsonargparse
from nst_lightning import _compat

def check(text):
    if "forbidden" in text:
        raise yaml.YAMLError("not this one")

_compat.bound_yaml(check, lambda text, value: {"seen": 7} if text == "{seen: 1}" else value)
parser = jsonargparse.ArgumentParser(exit_on_error=False)
parser.add_argument("--seen", type=int)
parser.add_argument("--config", action="config")
assert parser.parse_string("{seen: 1}").seen == 7
for text in ("{seen: 1, x: forbidden}", "seen: !!int x", "seen: 'forbidden: [1]'"):
    try:
        parser.parse_string(text)
    except jsonargparse.ArgumentError:
        continue
    raise AssertionError(text)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_missing_module() -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--callback", type=Callback)
    with pytest.raises(jsonargparse.ArgumentError) as refusal:
        parser.parse_args(["--callback", "gone.away.Class"])
    assert _compat.missing_module(str(refusal.value)) == "gone"
    assert _compat.missing_module("Key 'x' is not expected") is None


def test_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as refusal:  # no machine has an exabyte
        torch.empty(2**60, dtype=torch.uint8)
    assert _compat.is_out_of_memory(refusal.value)
    assert _compat.is_out_of_memory(MemoryError())
    assert not _compat.is_out_of_memory(RuntimeError("shape mismatch"))


class _LogsOnce(BoringModel):
    """Logs at its first step, and is stopped at the second."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 0:
            self.log("once", 1.0)
        self.log("mean", float(batch_idx), on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        _compat.forget_step_metrics(self.trainer)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.trainer.should_stop = batch_idx == 1


def test_forget_step_metrics(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    trainer = Trainer(
        max_epochs=1,
        log_every_n_steps=1,
        logger=logger,
        accelerator="cpu",
        limit_val_batches=0,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(_LogsOnce(), BoringDataModule())
    rows = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").read_text().splitlines()))
    assert [(row["step"], row["once"], row["mean"]) for row in rows] == [("0", "1.0", ""), ("1", "", "0.5")]
    assert trainer.callback_metrics["once"] == 1  # what a callback watches stays


def test_add_hparams_session_lets_tensorboard_show_first_what_differs(tmp_path: Path) -> None:
    for run, weight in (("a", 1.0), ("b", 2.0)):
        writer = SummaryWriter(tmp_path / run)
        writer.add_scalar("final/total", weight)
        _compat.add_hparams_session(writer, {"encoder": "vgg19", "weight": weight}, {"final/total": weight})
        writer.close()
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    context = HParamsContext(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(tmp_path))))
    content = context.hparams_metadata(RequestContext(), "", run_tag_filter=None)
    shown = context.experiment_from_metadata(RequestContext(), "", True, content, [])
    assert [(info.name, info.differs) for info in shown.hparam_infos] == [("weight", True), ("encoder", False)]
    assert [info.name.tag for info in shown.metric_infos] == ["final/total"]

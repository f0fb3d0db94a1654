"""Commands in processes of their own that start at once: forks of a server that has imported everything already."""

from __future__ import annotations

import multiprocessing.process
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch

from nst_lightning.cli.main import main
from nst_lightning.jobs.processes import worker_context


class Command:
    """A command that runs in the background with one thread, as a shell or a launcher would have started it.

    Args:
        argv: Arguments of the command, without its name.
        environment: Variables over those of this process.
        program: Function of the arguments that returns the exit code.
        folder: Working folder; this process's if `None`.

    Attributes:
        process: Process of the command.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str] | None = None,
        program: Callable[[list[str]], int] = main,
        folder: Path | None = None,
    ) -> None:
        with NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
            self._output = Path(file.name)
        task = (program, list(argv), folder or Path.cwd(), dict(environment or {}), self._output)
        self.process = worker_context().Process(target=_run, args=task)
        self.process.start()

    def end(self, seconds: float = 120) -> tuple[int, str]:
        """Wait for the end.

        Returns:
            The exit code, negative for a signal's number, and what was written to standard error.
        """
        self.process.join(seconds)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            self.process.join()
        output = self._output.read_text()
        self._output.unlink()
        assert code is not None, f"no end after {seconds} s:\n{output}"
        return code, output


def together(processes: int, argv: Sequence[str], program: Callable[[list[str]], int] = main) -> tuple[list[int], str]:
    """Run a command in several processes that find each other by the variables of Lightning's launcher.

    Returns:
        Their exit codes, the first's first, and what they wrote to standard error one after the other.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    environment = {**address, "WORLD_SIZE": str(processes), "NODE_RANK": "0"}
    started = [Command(argv, {**environment, "LOCAL_RANK": str(rank)}, program) for rank in range(processes)]
    ends = [command.end() for command in started]
    return [code for code, _ in ends], "".join(output for _, output in ends)


def _run(
    program: Callable[[list[str]], int], argv: list[str], folder: Path, environment: dict[str, str], output: Path
) -> None:
    # Not a child process: a run of a sweep, which the program recognizes by that, may do less than a command.
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    os.chdir(folder)
    os.environ.update(environment)
    with output.open("w") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    torch.set_num_threads(1)
    sys.argv = ["nst", *argv]
    sys.exit(program(argv))

"""`nst fit` on two devices, where both meet an error and the first takes long to end, as tests of runs start it.

python ending_together.py FILE fit ...
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch import Callback, LightningModule, Trainer

from nst_lightning.cli import fit
from nst_lightning.cli.main import main as main_of_nst
from nst_lightning.runs.fit_command import run_to_the_end
from nst_lightning.tasks.image_optimization import DivergenceError


class SlowEnd(Callback):
    """Fail in the second step, and let the first process write something large after that."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        """Fail, as all processes do whose loss is not finite."""
        if trainer.global_step == 1:
            raise DivergenceError("it diverged.")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write."""
        if trainer.is_global_zero:
            time.sleep(2)
            self.file.write_text("written")


def main() -> int:
    """Run, with a Lightning that looks after its processes all the time instead of every five seconds."""
    torch.set_num_threads(1)
    _ChildProcessObserver.__init__.__defaults__ = (0.05,)
    file, *words = sys.argv[1:]
    fit.run_to_the_end = lambda kind, words: run_to_the_end(kind, words, [SlowEnd(Path(file))])
    return main_of_nst(words)


if __name__ == "__main__":
    sys.exit(main())

"""OpenMP's threads wait asleep in `nst`, unless somebody chose otherwise."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

MAIN = "from nst_lightning.cli.main import main; main(['--version']); "
TORCH = "import torch; "


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP says what it does")
@pytest.mark.parametrize(
    ("code", "chosen", "policy"),
    [
        (MAIN + TORCH, {}, "PASSIVE"),
        (MAIN + TORCH, {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        (TORCH + MAIN, {}, "unset"),
        ("import nst_lightning; nst_lightning.UserError; " + TORCH, {}, "unset"),
    ],
)
def test_only_the_command_lets_threads_sleep(code: str, chosen: dict[str, str], policy: str) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    tell = "import os; print(os.environ.get('OMP_WAIT_POLICY', 'unset'))"
    environment = {**own, **chosen, "OMP_DISPLAY_ENV": "true"}
    run = subprocess.run([sys.executable, "-c", code + tell], env=environment, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == policy
    used = re.search(r"OMP_WAIT_POLICY = '(\w+)'", run.stderr)
    assert used is not None
    assert used[1] == ("PASSIVE" if policy == "unset" else policy)  # unset is called so, too, but spins for a while

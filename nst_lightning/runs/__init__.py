"""One run from a config or from Python."""

from nst_lightning.runs.result import Result
from nst_lightning.runs.trainer import fit

__all__ = ["Result", "fit"]

"""One run from a config or from Python."""

from nst_lightning.runs.trainer import Result, fit

__all__ = ["Result", "fit"]

"""One run from a config or from Python."""

from nst_lightning.run.trainer import Result, fit

__all__ = ["Result", "fit"]

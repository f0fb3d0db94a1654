"""The parser of commands that start no run."""

from __future__ import annotations

from typing import NoReturn

from jsonargparse import ArgumentParser

from nst_lightning.errors import UserError


class CommandParser(ArgumentParser):
    """Tells a mistake in one line, as `OneLineParser` of `nst fit` does, but starts without Lightning."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong as a `UserError`."""
        # Only a mistake is worth the seconds: the explainer knows, and imports, every class of the project.
        from nst_lightning._compat import option_names
        from nst_lightning.runs.error_messages import explain

        raise UserError(explain(message, option_names(self))) from ex

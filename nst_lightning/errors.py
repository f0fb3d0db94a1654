"""The one exception that means: the person at the keyboard can put this right."""


class UserError(ValueError):
    """A mistake in what the user gave, told in one line: what was expected, what was found, what to do.

    The command line prints the message without a traceback and exits with code 2; from Python it is a
    `ValueError`.
    """

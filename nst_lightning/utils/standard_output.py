"""What commands write to standard output: the paths of what they made, and nothing else."""

import os
import sys


def write_path(path: str | os.PathLike[str]) -> None:
    """Write the path of a file or folder that was made, alone on a line, so that `p=$(nst …)` takes it.

    A name that is not text is written as the bytes that it has on disk.
    """
    line = f"{os.fspath(path)}\n"
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(line))
    else:
        sys.stdout.write(line)
    sys.stdout.flush()

"""Which file a network's name means."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from nst_lightning.errors import UserError, user_path

_FOLDER = Path(__file__).parent


def shipped_networks() -> dict[str, Path]:
    """Give the networks that come with the package by their names."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.safetensors"))}


def network_path(given: str) -> Path:
    """Give the file of a network.

    Args:
        given: A shipped network's name, or a `.safetensors` file or checkpoint; whether it can be read is left to
            `load_network`.

    Raises:
        UserError: If it is neither.
    """
    shipped = shipped_networks()
    if given in shipped:
        return shipped[given]
    path = user_path(given)
    if path.exists() or path.suffix:
        return path
    nearest = get_close_matches(given, shipped, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else "give a .safetensors file or the checkpoint of a training."
    raise UserError(f"there is no network {given!r} in the package (there is: {', '.join(shipped) or 'none'}); {hint}")

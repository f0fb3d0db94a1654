"""Files of one-pass networks: those in the package, small ones that are kept, and checkpoints of a training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from nst_lightning.errors import UserError, did_you_mean, one_line, user_path
from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.transformer import TransformerNet
from nst_lightning.utils.atomic import atomic_file
from nst_lightning.utils.storage import fetch
from nst_lightning.utils.torch_files import load_tensors, readable_by_name

CHECKPOINT_KEY = "fast_style_transfer"
"""Key under which `FastStyleTransfer` and `AnyStyleTransfer` put the card into a checkpoint."""

ANY_STYLE = "any_style"
"""Name of the shipped network that paints in the style of any image."""

SHIPPED_FOLDER = Path(__file__).parent
"""Folder of the networks that come with the package."""

_PREFIX = "network."  # of the network's tensors in such a checkpoint
_EXPECTED = (
    "expected a transformer network or one of any style (.safetensors, or .ckpt of a FastStyleTransfer or "
    "AnyStyleTransfer run)"
)
_METADATA = "transformer"  # key of the card in a small file

OnePassNet = TransformerNet | AnyStyleNet
"""A network that paints in one pass: certain styles, or any."""

_KINDS: dict[str, type[OnePassNet]] = {"transformer": TransformerNet, "any_style": AnyStyleNet}


def shipped_networks() -> dict[str, Path]:
    """Return the files of the networks that come with the package, by their names."""
    return {path.stem: path for path in sorted(SHIPPED_FOLDER.glob("*.safetensors"))}


def network_path(given: str) -> Path:
    """Return the file of a network.

    Args:
        given: Name of a shipped network, or a `.safetensors` file or checkpoint; whether it can be read is left to
            `load_network`.

    Raises:
        UserError: If it is neither.
    """
    shipped = shipped_networks()
    if given in shipped:
        return shipped[given]
    path = user_path(given)
    if path.exists() or path.suffix:
        return fetch(path)
    otherwise = "give a .safetensors file or the checkpoint of a training."
    hint = did_you_mean(given, shipped, otherwise, shown=repr, cutoff=0.5)
    raise UserError(f"there is no network {given!r} in the package (there is: {', '.join(shipped) or 'none'}); {hint}")


@dataclass(frozen=True)
class NetworkCard:
    """Description of a network, stored beside its weights.

    Attributes:
        architecture: Arguments of the network's class.
        styles: Names of the styles, in the order of the style weights; none for a network of any style.
        encoder: Digest of the encoder of the losses.
        kind: Class of the network: `transformer` or `any_style`.
        features: Digest of the encoder that the network itself has; empty for none.
    """

    architecture: dict[str, int | float | str]
    styles: tuple[str, ...]
    encoder: str
    kind: str = "transformer"
    features: str = ""

    @classmethod
    def of(cls, network: OnePassNet, styles: Sequence[str], encoder: str) -> NetworkCard:
        """Return the card of a network."""
        kind = next(kind for kind, each in _KINDS.items() if isinstance(network, each))
        features = network.encoder.digest if isinstance(network, AnyStyleNet) else ""
        return cls(dict(network.architecture()), tuple(styles), encoder, kind, features)

    def as_dict(self) -> dict[str, Any]:
        """Return the card as plain containers, as a checkpoint holds them."""
        card = {"architecture": dict(self.architecture), "styles": list(self.styles), "encoder": self.encoder}
        return card if self.kind == "transformer" else {**card, "kind": self.kind, "features": self.features}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> NetworkCard:
        """Return the card that `as_dict` was made of; raise KeyError, TypeError or ValueError for anything else."""
        architecture = {
            str(key): value if isinstance(value, str | float) else int(value)
            for key, value in saved["architecture"].items()
        }
        kind = str(saved.get("kind", "transformer"))
        features = str(saved.get("features", ""))
        return cls(architecture, tuple(map(str, saved["styles"])), str(saved["encoder"]), kind, features)


def save_network(network: OnePassNet, path: str | Path, styles: Sequence[str], encoder: str) -> None:
    """Write a network as float16, about 2 bytes a weight; the file appears whole or not at all.

    Args:
        network: Network to be written.
        path: File to write, `.safetensors`; its folder is made.
        styles: Name of each style.
        encoder: Digest of the encoder that it was trained with.

    Raises:
        UserError: If the file can't be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_network(TransformerNet(width=4, blocks=1), f"{folder}/tiny.safetensors", ["waves"], encoder="")
        ...     network, card = load_network(f"{folder}/tiny.safetensors")
        >>> network.width, card.styles
        (4, ('waves',))
    """
    card = NetworkCard.of(network, styles, encoder)
    halves = {key: value.detach().half().cpu().contiguous() for key, value in network.state_dict().items()}
    with atomic_file(path) as file:
        # Not `save_file`, whose file nobody but its owner can read.
        file.write(save(halves, {_METADATA: json.dumps(card.as_dict())}))


def load_network(name_or_path: str | Path) -> tuple[OnePassNet, NetworkCard]:
    """Return a network read from a file.

    Args:
        name_or_path: Name of a shipped network, a `.safetensors` file that `save_network` wrote, or a checkpoint of a
            `FastStyleTransfer` or `AnyStyleTransfer` run.

    Returns:
        Network, float32 on the CPU, in evaluation mode; and its card.

    Raises:
        UserError: If the file is missing, damaged or another kind.

    Example:
        >>> network, card = load_network("starry")
        >>> card.styles
        ('starry',)
    """
    file = network_path(str(name_or_path))
    if not file.is_file():
        raise UserError(f"{_EXPECTED}, found nothing at {file}; check the path")
    try:
        read = _read_safetensors if file.suffix == ".safetensors" else _read_checkpoint
        with readable_by_name(file) as name:
            state, saved = read(name)
        card = NetworkCard.from_dict(saved)
        network = _KINDS[card.kind](**card.architecture)  # type: ignore[arg-type]
        network.load_state_dict(state)
    except Exception as error:  # what a damaged or foreign file trips has no common class
        reason = f" ({one_line(error)})" if isinstance(error, UserError) or "is damaged" in str(error) else ""
        raise UserError(f"{_EXPECTED}, found something else in {file}{reason}; give another file") from error
    if isinstance(network, AnyStyleNet) and card.features not in ("", network.encoder.digest):
        raise UserError(
            f"the network in {file} was trained with another encoder {network.weights!r} than this one; use the "
            "version of the package that it was made with."
        )
    return network.eval(), card


def load_any_style() -> AnyStyleNet:
    """Return the shipped network that paints in the style of any image.

    Raises:
        UserError: If its file is missing, damaged or another kind.
    """
    network, _ = load_network(ANY_STYLE)
    if not isinstance(network, AnyStyleNet):
        raise UserError(f"expected a network of any style, found another kind in {network_path(ANY_STYLE)}; reinstall.")
    return network


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(file, framework="pt") as opened:
        state = {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata() or {}
    saved: dict[str, Any] = json.loads(metadata[_METADATA])
    return state, saved


def _read_checkpoint(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    checkpoint = load_tensors(file)
    state = {key.removeprefix(_PREFIX): value.float() for key, value in checkpoint["state_dict"].items()}
    saved: dict[str, Any] = checkpoint[CHECKPOINT_KEY]
    return state, saved

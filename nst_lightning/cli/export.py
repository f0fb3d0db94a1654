"""`nst export`: a network as a file that other programs run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nst_lightning.cli.options import OptionParser
from nst_lightning.data.style_images import StyleImages
from nst_lightning.errors import UserError, user_path
from nst_lightning.networks.any_style import GRID, AnyStyleNet, Statistics, describe
from nst_lightning.networks.gaussians import Gaussian
from nst_lightning.networks.network_file import OnePassNet, load_network, save_network
from nst_lightning.networks.transformer import SMALLEST_SIDE, TransformerNet
from nst_lightning.utils.atomic import atomic_path, check_writable, counting_file
from nst_lightning.utils.overwriting import ReadFile, WrittenFile, check_overwriting
from nst_lightning.utils.streams import write_path

_log = logging.getLogger(__name__)

_TRACED = (64, 80)  # height and width, pixels
_CHECKED = ((97, 123), (130, 54))  # neither those nor multiples of 4
_SIDES = {2: "height", 3: "width"}
_SMALL = ".safetensors"
_TOLERANCE = 0.5 / 255  # more could move a pixel by a level

_ANY_STYLE = (".onnx", ".pt2", _SMALL)  # formats that hold a network of any style

Run = Callable[[Tensor, Tensor], Tensor]


class Portable(nn.Module):
    """Computes what `TransformerNet.forward` does, without its complaints about sizes.

    Args:
        network: Network to be exported.

    Attributes:
        styles: Number of the styles.
        step: Number of pixels that the sides of images are multiples of.
    """

    step = 1

    def __init__(self, network: TransformerNet) -> None:
        super().__init__()
        self.network = network
        self.styles = network.styles

    def expected(self, images: Tensor, weights: Tensor) -> Tensor:
        """Return what the exported file is to paint."""
        painted: Tensor = self.network(images, weights)
        return painted

    def forward(self, images: Tensor, weights: Tensor) -> Tensor:
        """Paint `(1, 3, H, W)` in the mixture `(S,)`."""
        return self.network.paint(images, self.network.mixture(weights))


class PortableAnyStyle(nn.Module):
    """Computes what `AnyStyleNet.forward` does in certain styles, for sides that need no extension.

    Args:
        network: Network to be exported.
        styles: Statistics of each style.

    Attributes:
        styles: Number of the styles.
        step: Number of pixels that the sides of images are multiples of.
    """

    step = GRID

    def __init__(self, network: AnyStyleNet, styles: Sequence[Statistics]) -> None:
        super().__init__()
        self.network = network
        self.statistics = styles
        self.styles = len(styles)

    def expected(self, images: Tensor, weights: Tensor) -> Tensor:
        """Return what the exported file is to paint."""
        painted: Tensor = self.network(images, self.statistics, weights)
        return painted

    def forward(self, images: Tensor, weights: Tensor) -> Tensor:
        """Paint `(1, 3, H, W)` in the blend `(S,)`."""
        maps = self.network.encode(images)
        transport = self.network.transport(describe(maps), self.statistics, weights)
        painted = self.network.paint(maps, transport)
        return self.network.finish(painted, transport.color_map(Gaussian.of(painted)), images, transport)


AnyPortable = Portable | PortableAnyStyle


def run(args: Sequence[str]) -> int:
    """Run `nst export NETWORK MODEL`.

    Raises:
        UserError: If the network can't be read, the file can't be written, a package is missing, or what was exported
            paints something else.
    """
    options = make_parser().parse_own(args[1:])
    target = user_path(options.output)
    suffixes = (*WRITERS, _SMALL)
    if target.suffix not in suffixes:
        raise UserError(f"expected an output ending in {', '.join(suffixes)}, found {target.name!r}; change the suffix")
    check_writable(target)
    read = [ReadFile(user_path(options.network), "the network that is read")]
    read += [ReadFile(user_path(path), "a style that is read") for path in options.style]
    check_overwriting([WrittenFile(target, str(target))], read)
    network, card = load_network(options.network)
    if target.suffix == _SMALL:
        save_network(network, target, card.styles, card.encoder)
        _log.info("network: %s", target)
        write_path(target)
        return 0
    names = [Path(path).name for path in options.style] or list(card.styles)
    model = _portable(network.requires_grad_(False), options.style, target.suffix)
    with atomic_path(target) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations inside the exporters
        exported = WRITERS[target.suffix](model, temporary)
        if exported is None:
            _log.warning("not checked against PyTorch: onnxruntime is not installed (pip install onnxruntime)")
        else:
            _check(model, exported)
    _log.info("model: %s (inputs: images 1×3×H×W from 0 to 1, and weights of %s)", target, ", ".join(names))
    write_path(target)
    return 0


def _portable(network: OnePassNet, styles: Sequence[str], suffix: str) -> AnyPortable:
    """Return the module that is exported.

    Args:
        network: Network without gradients.
        styles: Paths of the images whose style a network of any style is to paint in.
        suffix: Suffix of the output.

    Raises:
        UserError: If the styles don't belong to the network, can't be read, or the format can't hold it.
    """
    if isinstance(network, TransformerNet):
        if styles:
            raise UserError("--style is for a network of any style; this one has styles of its own, leave it out.")
        return Portable(network)
    if suffix not in _ANY_STYLE:
        raise UserError(f"a network of any style is exported as {', '.join(_ANY_STYLE)}; change the suffix.")
    if not styles:
        raise UserError(f"a network of any style paints as a picture does; give --style painting.jpg, or {_SMALL}.")
    images = StyleImages.read(styles).images
    return PortableAnyStyle(network, [network.measure(image) for image in images])


def make_parser() -> OptionParser:
    """Return the parser of the command's own options."""
    parser = OptionParser(
        "export",
        usage="network output",
        description=f"""\
Turn a network that paints in one pass into a file that other programs run. It takes pictures of any size, sRGB from 0
to 1, (1, 3, H, W), and the weights of the styles, (S,), whose sum is the strength. It is made for one picture at a
time, of at least {SMALLEST_SIDE} pixels a side. Of the formats .pt2 alone refuses smaller ones; .ts and .torchscript
take several pictures at once, .onnx and .pt2 refuse them. Of a network of any style the styles are measured now; its
pictures have sides that are multiples of {GRID}.""",
    )
    parser.add_argument("network", help="a .ckpt of nst fit, a .safetensors file, or a shipped network")
    parser.add_argument(
        "output",
        help="the suffix says what: .onnx, .pt2 (torch.export), .ts or .torchscript, .safetensors (small, for nst)",
    )
    parser.add_argument(
        "--style", nargs="+", default=[], metavar="PICTURE", help="styles that a network of any style is to paint in"
    )
    return parser


def _write_onnx(model: AnyPortable, path: Path) -> Run | None:
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it and does not say so in a line
    except ImportError as error:
        raise UserError("an .onnx file needs more packages; pip install 'nst-lightning[export]'.") from error
    program = torch.onnx.export(
        _export(model),
        input_names=["images", "weights"],
        output_names=["painted"],
        dynamic_shapes={"images": dict(_SIDES), "weights": None},  # once more, for the sides' names in the file
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: Tensor, weights: Tensor) -> Tensor:
        (painted,) = session.run(None, {"images": images.numpy(), "weights": weights.numpy()})
        return torch.from_numpy(painted)

    return run


def _write_exported(model: AnyPortable, path: Path) -> Run:
    torch.export.save(_export(model), path)
    loaded: Run = torch.export.load(path).module()
    return loaded


def _write_torchscript(model: AnyPortable, path: Path) -> Run:
    jit: Any = torch.jit  # its functions have no types
    traced = jit.trace(model, _example(model), check_trace=False)
    with counting_file(path) as file:  # to a full disk by its name, it would end the process
        jit.save(traced, file)
    loaded: Run = jit.load(str(path))
    return loaded


WRITERS: dict[str, Callable[[AnyPortable, Path], Run | None]] = {
    ".onnx": _write_onnx,
    ".pt2": _write_exported,
    ".ts": _write_torchscript,
    ".torchscript": _write_torchscript,
}
"""From a suffix to the function that writes such a file and returns what runs it; `None` where that can't be run."""


def _example(model: AnyPortable) -> tuple[Tensor, Tensor]:
    return torch.rand(1, 3, *_TRACED), torch.full((model.styles,), 1 / model.styles)


@torch.no_grad()  # a part of a program that is without gradients can't be saved
def _export(model: AnyPortable) -> torch.export.ExportedProgram:
    sides: dict[int, Any] = {index: torch.export.Dim(name, min=SMALLEST_SIDE) for index, name in _SIDES.items()}
    if model.step > 1:
        cells = (torch.export.Dim(f"{name}_cells", min=2, max=2**14) for name in _SIDES.values())
        sides = {index: model.step * cell for index, cell in zip(_SIDES, cells, strict=True)}
    # That a map has two positions to reflect follows from the smallest side, but torch can't prove it beforehand.
    return torch.export.export(
        model,
        _example(model),
        dynamic_shapes={"images": sides, "weights": None},
        prefer_deferred_runtime_asserts_over_guards=True,
    )


@torch.no_grad()
def _check(model: AnyPortable, run: Run) -> None:
    """Refuse a model that paints something else than the network, at sizes and weights it was not traced with."""
    generator = torch.Generator().manual_seed(0)
    for sides in _CHECKED:
        height, width = (side // model.step * model.step for side in sides)
        images = torch.rand(1, 3, height, width, generator=generator)
        weights = torch.rand(model.styles, generator=generator) / model.styles
        found, expected = run(images, weights), model.expected(images, weights)
        difference = float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
        if not difference <= _TOLERANCE:
            raise UserError(
                f"the exported model differs from PyTorch by {difference:.2g} at {width}×{height} pixels, where "
                f"{_TOLERANCE:.2g} is allowed; try another suffix."
            )

"""`nst export`: a network as a file that other programs run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nst_lightning.cli.options import OptionParser
from nst_lightning.data.style_images import StyleImages
from nst_lightning.errors import UserError, user_path
from nst_lightning.networks.any_style import GRID
from nst_lightning.networks.network_file import OnePassNet, load_network, save_network
from nst_lightning.networks.portable import (
    Portable,
    PortableAnyStyle,
    PortableAnyStyleInput,
    PortableMeasure,
    PortableTransformer,
)
from nst_lightning.networks.transformer import SMALLEST_SIDE, TransformerNet
from nst_lightning.utils.atomic import atomic_path, check_writable, counting_file
from nst_lightning.utils.overwriting import ReadFile, WrittenFile, check_overwriting
from nst_lightning.utils.streams import write_path

_log = logging.getLogger(__name__)

_TRACED = (64, 80)  # height and width, pixels, or the next multiples above
_CHECKED = ((97, 123), (130, 54))  # likewise; neither those nor multiples of 4
_SIDES = {2: "height", 3: "width"}
_SMALL = ".safetensors"
_TOLERANCE = 0.5 / 255  # more could move a pixel by a level

_ANY_STYLE = (".onnx", ".pt2", _SMALL)  # formats that hold a network of any style

Run = Callable[..., Tensor]
"""Function of the inputs of a module, in their order."""


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
        if options.style or options.styles:
            raise UserError(
                f"{_SMALL} is a network as it is, for nst predict, and has no style of its own; leave --style and "
                "--styles out, or export to another kind of file"
            )
        save_network(network, target, card.styles, card.encoder)
        _log.info("network: %s", target)
        write_path(target)
        return 0
    names = [Path(path).name for path in options.style] or list(card.styles)
    models = _portables(network.requires_grad_(False), options.style, options.styles, target)
    for path, model in models.items():
        _write(model, path)
        _log.info("model: %s (inputs: %s)", path, _described(model, names))
        write_path(path)
    return 0


def _portables(network: OnePassNet, styles: Sequence[str], count: int | None, target: Path) -> Mapping[Path, Portable]:
    """Return the modules that are exported, by the files that are written.

    Args:
        network: Network without gradients.
        styles: Paths of the images whose style a network of any style is to paint in.
        count: Number of the styles whose statistics it takes instead; `None` for one.
        target: Output.

    Raises:
        UserError: If the styles don't belong to the network, can't be read, or the format can't hold it.
    """
    if isinstance(network, TransformerNet):
        if styles or count is not None:
            raise UserError(
                "--style and --styles are for a network of any style; this one has styles of its own, leave them out."
            )
        return {target: PortableTransformer(network)}
    if target.suffix not in _ANY_STYLE:
        raise UserError(f"a network of any style is exported as {', '.join(_ANY_STYLE)}; change the suffix.")
    if styles:
        if count is not None:
            raise UserError("--styles is for statistics that are an input; --style names them, leave one out.")
        images = StyleImages.read(styles).images
        return {target: PortableAnyStyle(network, [network.measure(image) for image in images])}
    count = 1 if count is None else count
    if count < 1:
        raise UserError(f"--styles is at least 1, but {count} was given.")
    measure = target.with_suffix(f".measure{target.suffix}")
    return {target: PortableAnyStyleInput(network, count), measure: PortableMeasure(network)}


def _write(model: Portable, path: Path) -> None:
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations inside the exporters
        exported = WRITERS[path.suffix](model, temporary)
        if exported is None:
            _log.warning("not checked against PyTorch: onnxruntime is not installed (pip install onnxruntime)")
        else:
            _check(model, exported)


def _described(model: Portable, names: Sequence[str]) -> str:
    words = {
        "images": "images 1×3×H×W from 0 to 1",
        "weights": f"weights of {', '.join(names)}" if names else "weights of the styles",
        "statistics": "statistics of each style",
    }
    return ", ".join(words[name] for name in model.inputs)


def make_parser() -> OptionParser:
    """Return the parser of the command's own options."""
    parser = OptionParser(
        "export",
        usage="network output",
        description=f"""\
Turn a network that paints in one pass into a file that other programs run. It takes pictures of any size, sRGB from 0
to 1, (1, 3, H, W), and the weights of the styles, (S,), whose sum is the strength. It is made for one picture at a
time, of at least {SMALLEST_SIDE} pixels a side. Of the formats .pt2 alone refuses smaller ones; .ts and .torchscript
take several pictures at once, .onnx and .pt2 refuse them. Of a network of any style the pictures have sides that are
multiples of {GRID}, doubled for each draft: of {2 * GRID} for the shipped one. The styles are measured now, or else
their statistics, (S, D), are a third input, and a second file, such as model.measure.onnx, measures a style.""",
    )
    parser.add_argument("network", help="a .ckpt of nst fit, a .safetensors file, or a shipped network")
    parser.add_argument(
        "output",
        help="the suffix says what: .onnx, .pt2 (torch.export), .ts or .torchscript, .safetensors (small, for nst)",
    )
    parser.add_argument(
        "--style", nargs="+", default=[], metavar="PICTURE", help="styles that a network of any style is to paint in"
    )
    parser.add_argument(
        "--styles", type=int, metavar="N", help="without --style: how many styles are blended (default: 1)"
    )
    return parser


def _write_onnx(model: Portable, path: Path) -> Run | None:
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it and does not say so in a line
    except ImportError as error:
        raise UserError("an .onnx file needs more packages; pip install 'nst-lightning[export]'.") from error
    program = torch.onnx.export(
        _export(model),
        input_names=list(model.inputs),
        output_names=[model.output],
        dynamic_shapes=_shapes(model, dict(_SIDES)),  # once more, for the sides' names in the file
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

    def run(*inputs: Tensor) -> Tensor:
        (found,) = session.run(None, {name: value.numpy() for name, value in zip(model.inputs, inputs, strict=True)})
        return torch.from_numpy(found)

    return run


def _write_exported(model: Portable, path: Path) -> Run:
    torch.export.save(_export(model), path)
    loaded: Run = torch.export.load(path).module()
    return loaded


def _write_torchscript(model: Portable, path: Path) -> Run:
    jit: Any = torch.jit  # its functions have no types
    traced = jit.trace(model, model.example(*_TRACED), check_trace=False)
    with counting_file(path) as file:  # to a full disk by its name, it would end the process
        jit.save(traced, file)
    loaded: Run = jit.load(str(path))
    return loaded


WRITERS: dict[str, Callable[[Portable, Path], Run | None]] = {
    ".onnx": _write_onnx,
    ".pt2": _write_exported,
    ".ts": _write_torchscript,
    ".torchscript": _write_torchscript,
}
"""From a suffix to the function that writes such a file and returns what runs it; `None` where that can't be run."""


def _shapes(model: Portable, sides: Mapping[int, Any]) -> dict[str, Any]:
    """Return what may differ of each input from one call to another: of the image its sides, of others nothing."""
    return {name: dict(sides) if name == "images" else None for name in model.inputs}


def _sides_of(model: Portable, sides: tuple[int, int]) -> tuple[int, int]:
    height, width = sides if model.step == 1 else ((side // model.step + 1) * model.step for side in sides)
    return height, width


@torch.no_grad()  # a part of a program that is without gradients can't be saved
def _export(model: Portable) -> torch.export.ExportedProgram:
    sides: dict[int, Any] = {index: torch.export.Dim(name, min=SMALLEST_SIDE) for index, name in _SIDES.items()}
    if model.step > 1:
        cells = (torch.export.Dim(f"{name}_cells", min=2, max=2**14) for name in _SIDES.values())
        sides = {index: model.step * cell for index, cell in zip(_SIDES, cells, strict=True)}
    # That a map has two positions to reflect follows from the smallest side, but torch can't prove it beforehand.
    return torch.export.export(
        model,
        model.example(*_sides_of(model, _TRACED)),
        dynamic_shapes=_shapes(model, sides),
        prefer_deferred_runtime_asserts_over_guards=True,
    )


@torch.no_grad()
def _check(model: Portable, run: Run) -> None:
    """Refuse a model that returns something else than the network, at sizes and weights it was not traced with."""
    generator = torch.Generator().manual_seed(0)
    for sides in _CHECKED:
        height, width = _sides_of(model, sides)
        inputs = model.example(height, width, generator)
        found, expected = run(*inputs), model.expected(*inputs)
        difference = float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
        scale = 1.0 if model.output == "painted" else float(expected.abs().max())
        if not difference <= _TOLERANCE * scale:
            raise UserError(
                f"the exported model differs from PyTorch by {difference:.2g} at {width}×{height} pixels, where "
                f"{_TOLERANCE * scale:.2g} is allowed; try another suffix."
            )

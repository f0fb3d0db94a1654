"""The help of `nst fit`: what a style transfer is told comes first, and the Trainer's options last."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch.cli import LightningArgumentParser

from nst_lightning.data.initial_image import INITS
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.losses import ContentLoss, GramStyleLoss, TotalVariationLoss
from nst_lightning.tasks.style_transfer import StyleTransfer

_MAIN = {
    "--data.content me.jpg": "the picture whose objects are kept",
    "--data.style painting.jpg": "the picture in whose style it is painted; several: '[a.jpg, b.jpg]'",
    "--data.size 512": "long side of the result, pixels",
    "--model.style.weight 10": "more or less of the style",
    "--data.steps 36": "optimizer steps at each size after the first, which has --data.first_steps",
    "--output.path me.png": "file of the result",
    "--data.init content": f"what it starts from: {', '.join(INITS)} or a picture",
    "--data.preserve_color luminance": "keep the picture's colors",
    "--data.guides '[mask.png, rest]'": "where each style goes",
    "--data.style_scale 1": "larger or smaller strokes",
    "--config configs/quick.yaml": "settings from a file; what is typed wins",
    "--ckpt_path last": "go on with a run that was stopped",
}
_CLASSES: dict[str, tuple[type, str]] = {
    "data": (TransferData, "pictures, sizes and steps"),
    "model": (StyleTransfer, "how it is painted"),
    "model.style": (GramStyleLoss, "loss against the style"),
    "model.content": (ContentLoss, "loss against the content"),
    "model.variation": (TotalVariationLoss, "loss of noise"),
    "model.encoder": (VGG19, "network that compares"),
}


def class_options(kind: type[LightningArgumentParser]) -> LightningArgumentParser:
    """Return a parser of the options of `TransferData`, `StyleTransfer` and the classes that this is made of.

    The parser of `nst fit` does not know them before the classes are chosen.

    Args:
        kind: Class of the parser.
    """
    parser = kind(prog="nst fit", add_help=False, description="")
    for key, (of, title) in _CLASSES.items():
        nested = {name.removeprefix(f"{key}.") for name in _CLASSES if name.startswith(f"{key}.")}
        parser.add_class_arguments(of, key, skip=nested)
        assert parser.groups is not None
        parser.groups[key].title = f"--{key}.… of {of.__name__}, {title}"
    return parser


def with_class_options(parser: LightningArgumentParser, rest: str) -> str:
    """Return the help of `nst fit`.

    Args:
        parser: Parser as `class_options` returns it.
        rest: Help of the other options, with its usage first.
    """
    options = parser.format_help().partition("\n\n")[2].strip()
    _, _, rest = rest.partition("\n\n")
    return f"""\
usage: nst fit [--config FILE] [options]

Paint a picture, or go on with one. What a style transfer is told, with examples:
{_table(_MAIN)}

What follows holds unless a config or an option names other classes (--data CLASS, --model CLASS, --model.style CLASS),
whose own options are shown by --data.help CLASS and the like. An optimizer's are set by --model.optimizer.lr and so on.

{options}

{rest.strip()}
"""


def _table(rows: Mapping[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {option:<{width}}  {text}" for option, text in rows.items())

"""The help of `nst fit`: what a style transfer is told comes first."""

from __future__ import annotations

from nst_lightning.data.initial_image import INITS
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.losses import ContentLoss, GramStyleLoss, TotalVariationLoss
from nst_lightning.runs.command_help import CommandHelp
from nst_lightning.tasks.style_transfer import StyleTransfer

FIT_HELP = CommandHelp(
    command="nst fit",
    purpose="Paint a picture, or go on with one.",
    examples={
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
    },
    classes={
        "data": (TransferData, "pictures, sizes and steps"),
        "model": (StyleTransfer, "how it is painted"),
        "model.style": (GramStyleLoss, "loss against the style"),
        "model.content": (ContentLoss, "loss against the content"),
        "model.variation": (TotalVariationLoss, "loss of noise"),
        "model.encoder": (VGG19, "network that compares"),
    },
    further="""\
What follows holds unless a config or an option names other classes (--data CLASS, --model CLASS, --model.style CLASS),
whose own options are shown by --data.help CLASS and the like. An optimizer's are set by --model.optimizer.lr and so on.
""".strip(),
)

"""The help of `nst predict`: what is painted, and by what, comes first."""

from __future__ import annotations

from nst_lightning.data.predict_data import PredictData
from nst_lightning.runs.command_help import CommandHelp
from nst_lightning.tasks.fast_stylizer import FastStylizer

PREDICT_HELP = CommandHelp(
    command="nst predict",
    purpose="Paint pictures and videos in one pass, by a trained network. Run again, it paints what is missing.",
    examples={
        "--data.images photos": "folder, picture or video; several: '[a.jpg, trip]'",
        "--data.style painting.jpg": "the picture in whose style all are painted; several: '[a.jpg, b.jpg]'",
        "--data.style_weights '[2, 1]'": "parts of several styles",
        "--data.guides '[masks, rest]'": "where each style goes: a mask for all, or a folder with one for each picture",
        "--data.preserve_color luminance": "keep the pictures' colors",
        "--data.style_scale 1": "larger or smaller strokes",
        "--data.size 1024": "long side of the results, pixels; each picture's own if unset",
        "--model.strength 0.6": "less of the style",
        "--output.folder painted": "folder of the results, with the pictures' names",
        "--output.path me.png": "file of a single result",
        "--output.format jpg": "format of all pictures (--output.quality 95)",
        "--output.overwrite true": "paint again what is there",
        "--ckpt_path RUN/checkpoints/last.ckpt": "a network that you trained",
        "--cluster local": "paint on a Ray cluster (--per_job.cpus, --per_job.gpus)",
    },
    classes={
        "data": (PredictData, "pictures and styles"),
        "model": (FastStylizer, "the network, and how strongly it paints"),
    },
    further="Several processes share the work: torchrun --nproc-per-node 8 --no-python nst predict "
    "--trainer.devices 8 …",
)

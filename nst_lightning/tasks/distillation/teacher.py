"""A pretrained network whose feature maps a smaller one learns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from nst_lightning.encoders.encoder_weights import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD
from nst_lightning.errors import UserError


class Teacher(nn.Module):
    """A frozen torchvision model with some of its maps tapped.

    Args:
        model: Any name that `torchvision.models.get_model` knows, such as `vgg19` or `squeezenet1_1`.
        layers: Node names to tap, as `torchvision.models.feature_extraction` spells them (`features.29`).
        weights: A torchvision weights name such as `DEFAULT`, or a path to a `.safetensors` or `.pth` file.
        rename: Regular expressions and their replacements, applied in order to a weights file's keys until
            they are torchvision's; keys that the model lacks are left out.
        preprocessing: `imagenet` (RGB, mean and standard deviation) or `caffe` (BGR, 0–255, mean only).
        padding: Pixels that are repeated at the right and bottom edges. Where a network's strided layers have
            no padding of their own, as SqueezeNet's, 1 makes its grids coincide with VGG's, and nothing has
            to be resampled.

    Raises:
        UserError: If the model or a layer is unknown, or the file is missing, damaged or does not hold all
            tensors of the tapped part.
    """

    def __init__(
        self,
        model: str,
        layers: list[str],
        weights: str = "DEFAULT",
        *,
        rename: dict[str, str] | None = None,
        preprocessing: Literal["imagenet", "caffe"] = "imagenet",
        padding: int = 0,
    ) -> None:
        super().__init__()
        is_file = Path(weights).suffix in (".safetensors", ".pth", ".pt")
        self.layers = list(layers)
        try:
            network = get_model(model, weights=None if is_file else weights)
            self.body = create_feature_extractor(network, return_nodes=self.layers)
        except (ValueError, KeyError) as error:  # torchvision's words for an unknown model, weights or layer
            reason = " ".join(str(error).split())
            raise UserError(f"the teacher can't be built ({reason}); see torchvision's documentation.") from error
        if is_file:
            self._load(Path(weights), rename or {})
        self.body.requires_grad_(False)
        self.preprocessing = preprocessing
        self.padding = padding
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("caffe_mean", torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def _load(self, path: Path, rename: Mapping[str, str]) -> None:
        if not path.is_file():
            raise UserError(f"there is no teacher weights file {path}; give the path of a .safetensors or .pth file.")
        renamed: dict[str, Tensor] = {}
        for key, value in _read(path).items():
            for pattern, replacement in rename.items():
                key = re.sub(pattern, replacement, key)
            renamed[key] = value
        missing = sorted(set(self.body.state_dict()) - set(renamed))
        if missing:
            raise UserError(f"{path} lacks {missing[0]} and {len(missing) - 1} more tensors; see the option rename.")
        try:
            self.body.load_state_dict({key: renamed[key] for key in self.body.state_dict()})
        except RuntimeError as error:  # a tensor of another shape
            reason = " ".join(str(error).split())
            raise UserError(f"the weights in {path} are not the model's ({reason}); give its own.") from error

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode whatever is asked: dropout and batch statistics have no place in a target."""
        del mode
        return super().train(False)

    def forward(self, images: Tensor, taps: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Compute the tapped maps.

        Args:
            images: sRGB in [0, 1], shape `(N, 3, H, W)`.
            taps: Which of the layers to return; `None` for all.

        Returns:
            For each layer its map `(N, C, h, w)`.
        """
        if self.preprocessing == "caffe":
            prepared = images.flip(1) * 255.0 - self.get_buffer("caffe_mean")
        else:
            prepared = (images - self.get_buffer("mean")) / self.get_buffer("std")
        prepared = F.pad(prepared, (0, self.padding, 0, self.padding), mode="replicate")
        features: dict[str, Tensor] = self.body(prepared)
        return features if taps is None else {name: features[name] for name in taps}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
        return dict(state.items())
    # a damaged file trips the unpickler in ways that have no common class
    except (Exception, SafetensorError) as error:
        raise UserError(f"{path} can't be read as tensors; save the teacher's state_dict() anew.") from error

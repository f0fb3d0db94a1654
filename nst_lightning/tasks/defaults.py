"""The defaults of `StyleTransfer`: what configs/starry.yaml says, where a test compares the two."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

from torch.optim import Optimizer

from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.losses.content import ContentLoss
from nst_lightning.losses.loss import Loss
from nst_lightning.losses.style import GramStyleLoss
from nst_lightning.losses.total_variation import TotalVariationLoss
from nst_lightning.optim import OpponentAdam

P = ParamSpec("P")

_ENCODER = "vgg19"
_STYLE_LAYERS = {"relu1_1": 0.4, "relu2_1": 0.3, "relu3_1": 0.5, "relu4_1": 0.15, "relu5_1": 0.03}


def default_encoder() -> VGG19:
    """Return the paper's VGG19, with replicated borders."""
    return VGG19(_ENCODER, padding="replicate")


def with_default_losses(init: Callable[P, None]) -> Callable[P, None]:
    """Return a constructor with the default losses where a call names none; `None` in place of a loss names it.

    A config always names all of them: one without losses is a mistake.

    Args:
        init: `__init__` of a task with the arguments `content`, `style`, `variation`, `extra_losses` and `encoder`, and
            `encoder_by_size` if there are several.
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        given = signature.bind_partial(*args, **kwargs).arguments
        if not {"content", "style", "variation", "extra_losses"} & given.keys():
            kwargs.update(default_losses([given.get("encoder"), *(given.get("encoder_by_size") or {}).values()]))
        init(*args, **kwargs)

    return wrapped


def default_losses(encoders: Sequence[VGG19 | None] = ()) -> dict[str, Loss]:
    """Return the losses against the content and the styles, and of the image itself.

    Args:
        encoders: Networks of the features; `None` for the default one, which the content's weight belongs to. With
            another among them the distance is relative to the content's own features.
    """
    is_default = all(encoder is None or encoder.weights_name == _ENCODER for encoder in encoders)
    return {
        "content": ContentLoss(["relu4_2"], *((2.4e-6, "mean") if is_default else (1.0, "relative"))),
        "style": GramStyleLoss(_STYLE_LAYERS, 10.0),
        "variation": TotalVariationLoss(3.0, "second_order", chroma=20.0),
    }


def default_optimizer(params: Any) -> Optimizer:
    """Make the optimizer of the image."""
    return OpponentAdam(params, lr=0.042, betas=(0.9, 0.9), chroma=0.4, smoothing=(0.7, 0.95))

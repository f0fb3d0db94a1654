"""Which losses can be had from tiles: those whose methods are the library's own where tiles take their place."""

from typing import TypeGuard

from nst_lightning.encoders.topology import INPUT
from nst_lightning.losses.content import ContentLoss
from nst_lightning.losses.loss import Loss
from nst_lightning.losses.style import StyleLoss
from nst_lightning.losses.total_variation_loss import TotalVariationLoss

_RELIED_ON: dict[type, tuple[str, ...]] = {
    StyleLoss: ("measure", "forward"),
    ContentLoss: ("measure", "prepare", "forward", "weigh"),
    TotalVariationLoss: ("forward", "of_rows", "weigh"),
}
"""Methods that tiles go round, or of which the parts have to add up to the whole."""


def obstacle(loss: Loss) -> str | None:
    """Tell why a loss can't be tiled.

    Args:
        loss: Any.

    Returns:
        The end of a sentence that begins with the loss; `None` if it can.
    """
    for base in (StyleLoss, ContentLoss):
        if isinstance(loss, base):
            replaced = _replaced(loss, base)
            if not replaced:
                return None
            return f"since {type(loss).__name__} has a {' and a '.join(replaced)} of its own"
    if set(loss.taps) == {INPUT} and loss.reference in ("none", "warped"):
        return None
    return "only StyleLoss, ContentLoss and losses of the pixels that compare with no content or style picture can"


def goes_by_rows(loss: Loss) -> TypeGuard[TotalVariationLoss]:
    """Tell whether a loss is total variation, and nothing that a subclass made of it."""
    return isinstance(loss, TotalVariationLoss) and not _replaced(loss, TotalVariationLoss)


def _replaced(loss: Loss, base: type) -> list[str]:
    return [name for name in _RELIED_ON[base] if getattr(type(loss), name) is not getattr(base, name)]

"""The objective at each pyramid level: the same losses, over one encoder or over another from a size on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from torch import nn

from nst_lightning.data.schedule import Level
from nst_lightning.encoders.guide_propagation import Propagation
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses.loss import Loss
from nst_lightning.losses.objective import Objective


class LevelObjectives(nn.Module):
    """One objective for each encoder.

    Args:
        encoder: Network for the levels below the least of the sizes.
        by_size: Encoders from a long side on, pixels; may be empty.
        losses: Losses, the same at every level.
        guide_propagation: Way in which masks reach deeper layers, as in `Objective`.

    Raises:
        UserError: If a size is below 1, or as in `Objective`.
    """

    def __init__(
        self, encoder: VGG19, by_size: Mapping[int, VGG19], losses: Sequence[Loss], guide_propagation: Propagation
    ) -> None:
        super().__init__()
        if by_size and min(by_size) < 1:
            raise UserError(
                f"model.encoder_by_size: expected long sides of at least 1 pixel, found {min(by_size)}; write for "
                "example {512: …}."
            )
        self.sizes = (0, *sorted(by_size))
        encoders = (encoder, *(by_size[size] for size in self.sizes[1:]))
        self.objectives = nn.ModuleList([Objective(each, losses, guide_propagation) for each in encoders])

    def all(self) -> list[Objective]:
        """Return every objective, coarse to fine."""
        return [objective for objective in self.objectives if isinstance(objective, Objective)]

    def at(self, level: Level) -> Objective:
        """Return the objective of a level."""
        long_side = max(level.height, level.width)
        return [objective for size, objective in zip(self.sizes, self.all(), strict=True) if size <= long_side][-1]

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) that identifies the encoders and their sizes; a single encoder has its own."""
        digests = [objective.encoder.digest for objective in self.all()]
        if len(digests) == 1:
            return digests[0]
        rows = "\n".join(f"{size} {digest}" for size, digest in zip(self.sizes, digests, strict=True))
        return hashlib.sha256(rows.encode()).hexdigest()

    @property
    def description(self) -> str:
        """Names of the encoders' weights and the long sides that they begin with, such as `vgg19, compact (512)`."""
        names = [objective.encoder.weights_name for objective in self.all()]
        return ", ".join([names[0], *(f"{n} ({s})" for n, s in zip(names[1:], self.sizes[1:], strict=True))])

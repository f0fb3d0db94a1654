"""Losses of the pixels alone, evaluated band by band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nst_lightning.encoders.topology import INPUT
from nst_lightning.losses.loss_term import Comparison
from nst_lightning.losses.tiling.distributed import Team
from nst_lightning.losses.tiling.tileable import goes_by_rows

_BAND_PIXELS = 2**20


def evaluate_pixels(
    image: Tensor, comparisons: Sequence[Comparison], team: Team, gradient: Tensor | None
) -> dict[str, Tensor]:
    """Give this process's share of the terms; add its share of their gradient.

    Total variation goes by bands of rows, dealt out to the processes. Of any other loss, one derived from it
    among them, nothing is known but that it reads the pixels: the first process evaluates it on the whole picture.

    Args:
        image: `(1, 3, H, W)` in [0, 1].
        comparisons: Losses whose only tap is `input`.
        team: All processes.
        gradient: `(1, 3, H, W)`, added to; `None` if it is not wanted.

    Returns:
        Weighted terms without gradient, to be added up over the processes; all have the same names.
    """
    terms: dict[str, Tensor] = {}
    for comparison in comparisons:
        loss = comparison.loss
        if goes_by_rows(loss):
            terms[comparison.name] = image.new_zeros(())
            for rows in _bands(image, team):
                around = slice(max(0, rows.start - 1), rows.stop + 1)
                band = _leaf(image[..., around, :], gradient)
                with torch.set_grad_enabled(gradient is not None):
                    (term,) = comparison.scaled(loss.of_rows(band, rows, image.shape[2])).values()
                _add_gradient(gradient, around, term, band)
                terms[comparison.name] = terms[comparison.name] + term.detach()
        else:
            part = float(team.rank == 0)
            leaf = _leaf(image, gradient)
            with torch.set_grad_enabled(gradient is not None):
                found = {name: term * part for name, term in comparison.terms({INPUT: leaf}).items()}
                total = torch.stack(list(found.values())).sum()
            _add_gradient(gradient, slice(None), total, leaf)
            terms.update((name, term.detach()) for name, term in found.items())
    return terms


def _bands(image: Tensor, team: Team) -> Iterator[slice]:
    height, width = image.shape[-2:]
    rows = max(1, min(_BAND_PIXELS // width, -(-height // team.size)))
    for start in range(team.rank * rows, height, team.size * rows):
        yield slice(start, min(start + rows, height))


def _leaf(pixels: Tensor, gradient: Tensor | None) -> Tensor:
    return pixels.detach().requires_grad_(gradient is not None)


def _add_gradient(gradient: Tensor | None, rows: slice, term: Tensor, leaf: Tensor) -> None:
    if gradient is not None:
        gradient[..., rows, :] += torch.autograd.grad(term, leaf)[0]

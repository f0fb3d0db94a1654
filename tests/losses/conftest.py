from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Picture = Callable[..., dict[str, Tensor]]


@pytest.fixture
def picture() -> Picture:
    """Features as an encoder would give them: not negative, channels correlated, coarser in deeper layers."""

    def make(height: int, width: int, *, seed: int, batch: int = 1, dtype: torch.dtype = torch.float32):
        generator = torch.Generator().manual_seed(seed)

        def features(channels: int, stride: int) -> Tensor:
            shape = (batch, channels, height // stride, width // stride)
            noise = torch.randn(shape, generator=generator, dtype=torch.float64)
            mixing = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
            return torch.einsum("dc,nchw->ndhw", mixing, noise).add(0.5).relu().to(dtype)

        image = torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)
        return {"input": image.to(dtype), "relu1_1": features(6, 1), "relu2_1": features(9, 2)}

    return make

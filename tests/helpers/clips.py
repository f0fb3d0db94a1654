"""Tiny videos, written with PyAV alone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

RATE = Fraction(10)
SOUND_RATE = 16000


def moving_frames(count: int = 5, height: int = 24, width: int = 32) -> list[Tensor]:
    """Return smooth colors that shift from frame to frame, `(1, 3, H, W)`, in steps of 1/255."""
    rows, columns = torch.arange(height).view(-1, 1) / height, torch.arange(width) / width
    waves = [
        torch.stack([torch.sin(6 * (rows + columns * k) + t / 2 + k) for k in range(3)]).unsqueeze(0)
        for t in range(count)
    ]
    return [((wave + 1) * 110 + 10).round() / 255 for wave in waves]


def make_clip(path: Path, frames: list[Tensor], *, with_sound: bool = True) -> None:
    """Write frames at 10 a second and a tone as long: FFV1 and PCM in MKV without any loss, else H.264 and AAC."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    is_exact = path.suffix == ".mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream(
            "ffv1" if is_exact else "libx264", rate=RATE, options={} if is_exact else {"crf": "0"}
        )
        video.height, video.width = frames[0].shape[-2:]
        video.pix_fmt = "bgr0" if is_exact else "yuv420p"
        sound = (
            container.add_stream("pcm_s16le" if is_exact else "aac", rate=SOUND_RATE, layout="mono")
            if with_sound
            else None
        )
        for frame in frames:
            levels = frame[0].mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
            container.mux(
                video.encode(av.VideoFrame.from_ndarray(levels, format="rgb24").reformat(format=video.pix_fmt))
            )
        container.mux(video.encode(None))
        if sound is not None:
            times = np.arange(SOUND_RATE * len(frames) // int(RATE)) / SOUND_RATE
            tone = (8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)[None]
            samples = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            samples.sample_rate = SOUND_RATE
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))


def sound_packets(path: Path) -> list[bytes]:
    """Return the encoded sound of a video."""
    import av

    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

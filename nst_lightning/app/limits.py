"""What a visitor may ask of the machine, and how the rest is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much is enough.

    Attributes:
        upload_bytes: Of one picture's file.
        pixels: Of one picture, height times width.
        size: Largest long side that is painted, pixels.
        pictures: That one visitor may have here at a time.
        arriving: Pictures of all visitors that are on their way here.
        arriving_each: Of one visitor.
        waiting: Jobs of one visitor that wait or are painted.
        streams: Of events, that one visitor may have open.
        kept: Jobs of one visitor that are kept, finished ones included.
        queue: Jobs of all visitors that wait.
        visitors: At a time.
        stored_bytes: Of all that all visitors brought and made.
        lifetime: Seconds after its last use for which anything is kept.
    """

    upload_bytes: int = 30_000_000
    pixels: int = 25_000_000
    size: int = 1024
    pictures: int = 20
    arriving: int = 16
    arriving_each: int = 3
    waiting: int = 3
    streams: int = 6
    kept: int = 8
    queue: int = 50
    visitors: int = 1000
    stored_bytes: int = 4_000_000_000
    lifetime: float = 3600.0


class RefusalError(Exception):
    """What a visitor asked for is not done.

    Args:
        status: Of the HTTP answer.
        line: What the visitor reads: what is wrong and what to do.
    """

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.line = line

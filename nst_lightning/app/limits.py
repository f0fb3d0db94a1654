"""How the page is served, what a visitor may ask of the machine, and how the rest is refused."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """How much is enough.

    Attributes:
        upload_bytes: Size of one image's file, bytes.
        pixels: Height times width of one image.
        size: Longest long side that is painted, pixels.
        instant_size: Longest long side of what is painted at once in one pass, pixels.
        styles: Styles that may be blended.
        uploads: Images that one visitor may have here at a time, masks included.
        arriving: Images of all visitors that are on their way here.
        arriving_each: Images of one visitor that are on their way here.
        waiting: Jobs of one visitor that wait or are painted.
        streams: Streams of events that one visitor may have open; a browser has six connections to a server, for all
            tabs.
        tabs: Tabs of one visitor whose last painting in one pass is kept.
        kept: Jobs of one visitor that are kept, finished ones included.
        queue: Jobs of all visitors that wait.
        sessions: Visitors at a time.
        stored_bytes: Size of all that all visitors brought and made, bytes.
        lifetime: Time after its last use for which anything is kept, seconds.
    """

    upload_bytes: int = 30_000_000
    pixels: int = 25_000_000
    size: int = 2048
    instant_size: int = 1024
    styles: int = 4
    uploads: int = 40
    arriving: int = 16
    arriving_each: int = 3
    waiting: int = 3
    streams: int = 4
    tabs: int = 4
    kept: int = 8
    queue: int = 50
    sessions: int = 1000
    stored_bytes: int = 4_000_000_000
    lifetime: float = 3600.0


@dataclass(frozen=True)
class AppRequest:
    """What the words after `nst app` ask for.

    Attributes:
        host: Address to listen at.
        port: TCP port; 0 for any that is free.
        names: Further host names under which the page may be asked for.
        limits: What visitors may ask for.
        is_opened: Whether the page is opened in this desktop's browser.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    names: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    is_opened: bool = True


class RefusalError(Exception):
    """What a visitor asked for is not done.

    Args:
        status: Status code of the HTTP answer.
        line: What the visitor reads: what is wrong and what to do.
    """

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.line = line

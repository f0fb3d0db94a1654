"""What the words after `nst app` ask for."""

from __future__ import annotations

from dataclasses import dataclass, field

from nst_lightning.app.limits import Limits


@dataclass(frozen=True)
class AppRequest:
    """How the page is served.

    Attributes:
        host: Address to listen at.
        port: TCP port; 0 for any that is free.
        names: Further host names under which the page may be asked for.
        limits: What visitors may ask for.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    names: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

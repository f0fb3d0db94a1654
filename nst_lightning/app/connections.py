"""Connections that bring nothing are closed."""

from __future__ import annotations

import asyncio

from nst_lightning._compat import http_protocol_with_deadline

_PATIENCE = 10.0  # seconds for the head of a request


def impatient_protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP/1.1 with a limit for how long a connection may bring nothing."""
    return http_protocol_with_deadline(lambda: _PATIENCE)

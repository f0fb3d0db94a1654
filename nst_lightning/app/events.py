"""The stream of events that tells a visitor's page how the visitor's jobs stand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import anyio

from nst_lightning.app.studio import Studio
from nst_lightning.app.visitor import Visitor

_LOOK_INTERVAL = 0.15  # seconds
_HEARTBEAT = 15.0  # a connection that is gone is noticed when something is sent


async def tell_changes(studio: Studio, visitor: Visitor) -> AsyncIterator[str]:
    """Tell each change of the visitor's jobs, as server-sent events, until none is waiting or painted any more.

    Args:
        studio: Of the page.
        visitor: Whose jobs; the stream is counted as one of the visitor's as long as it lasts.
    """
    told: dict[str, int] = {}
    silence, is_last = 0.0, False
    visitor.streams += 1
    try:
        yield "retry: 500\n\n"  # milliseconds: a job may begin right after the last one's end
        while not studio.is_closing and not is_last:
            jobs = list(visitor.jobs.values())
            is_last = not any(job.is_active for job in jobs)  # before the look at the versions: what ends later is told
            for job in jobs:
                if told.get(job.order.id) != job.version:
                    told[job.order.id], silence = job.version, 0.0
                    yield f"data: {json.dumps(studio.describe(job))}\n\n"
            await anyio.sleep(_LOOK_INTERVAL)
            silence += _LOOK_INTERVAL
            if silence > _HEARTBEAT:
                silence = 0.0
                yield ": still here\n\n"
    finally:
        visitor.streams -= 1

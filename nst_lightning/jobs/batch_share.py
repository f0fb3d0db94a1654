"""Who paints which pair, when several processes have the same list."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

from filelock import FileLock, Timeout

from nst_lightning.errors import UserError
from nst_lightning.jobs.batch_launch import Launch
from nst_lightning.jobs.batch_place import Place
from nst_lightning.utils.locks import LOCK

_log = logging.getLogger(__name__)

_POLL = 1.0  # seconds


def claim(places: Sequence[Place], launch: Launch) -> Iterator[Place]:
    """Give the pairs one after another that are this process's to paint, until all are settled.

    Any number of processes may do so at the same time, on one machine or on many with a common file system, and
    come and go. They need not know of each other: who holds the lock of a pair's folder paints it. Dealing the list
    out beforehand, every n-th pair to rank n, would need no locks, but the slowest rank would hold up the rest, and
    a dead one's pairs would stay undone. The system gives a lock back when its process ends, however it ends, so that
    nothing is left behind by `kill -9`.

    Each rank begins at a place of its own in the list, so that they seldom meet. A process that finds nothing left
    but what others are at waits for them: it takes over if they die, and the summary is complete whoever writes it.

    Args:
        places: Of all pairs that were not settled at the beginning.
        launch: This process's part in it.

    Yields:
        A pair whose lock is held until the next one is asked for.

    Raises:
        UserError: If a pair's folder can't be made or locked.
    """
    first = len(places) * launch.rank // launch.size
    left = [*places[first:], *places[:first]]
    is_waiting = False
    while left:
        met = []
        for place in left:
            if place.is_settled():
                continue
            lock = FileLock(place.folder / LOCK)
            try:
                place.folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(blocking=False)
            except Timeout:
                met.append(place)
                continue
            except OSError as error:
                raise UserError(f"cannot write to {place.folder} ({error.strerror}); look what is there.") from error
            try:
                if not place.is_settled():  # between the look and the lock
                    is_waiting = False
                    yield place
            finally:
                lock.release()
        left = met
        if left:
            if not is_waiting:
                _log.info("waiting for other processes, which are at %d of the pairs", len(left))
            is_waiting = True
            time.sleep(_POLL)

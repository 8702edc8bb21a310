"""The canary of the job queue as a kind of probe."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from django.db import DatabaseError, close_old_connections

from gaia_site.canary import Canary
from services.asking import Question, Target
from services.drivers.probes import Result, bad, good
from services.spec import Probe

_thread = ThreadPoolExecutor(1, thread_name_prefix="canary")  # one connection to the database, not one per thread


def kind(target: Target, probe: Probe) -> Question:
    """The question of a start of the queue: a canary of its own."""
    canary = Canary()

    def look() -> Result:
        close_old_connections()
        try:
            seen = canary.look()
        except DatabaseError as error:  # which says nothing about the queue
            return good(f"the database cannot be asked: {error}")
        finally:
            close_old_connections()
        return good(seen.answer) if seen.ok else bad(seen.answer)

    async def ask() -> Result:
        return await asyncio.get_running_loop().run_in_executor(_thread, look)

    return ask

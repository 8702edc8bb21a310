"""Reading the database from async code, leaving no connection behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")


async def read(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run the function in a thread of the loop's pool and close that thread's connections before returning.

    A stream lives for hours: had it kept the connection it authenticated with, every idle viewer would hold one.
    """

    def closing() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.to_thread(closing)

"""What `tests.warm` has in memory before it forks: all of GAIA, and what it stands on.

Which settings are in force every start asks again: nothing of GAIA reads them when it is imported, but for the few
places that `_ask_again` knows.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import sys
import tempfile
from typing import Any

import django

_LEFT_OUT = (".asgi", ".__main__", ".migrations", ".scripts")  # they begin to work when they are imported
_BESIDES = (
    "asyncio", "concurrent.futures", "difflib", "django.core.management", "django.test.client", "importlib.metadata",
    "pydantic", "runpy", "uvicorn.main", "uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto",
)  # fmt: skip


def _load() -> None:
    """Import GAIA with settings that nobody will use."""
    used = {"DJANGO_SETTINGS_MODULE": "gaia_site.settings"}
    with tempfile.TemporaryDirectory() as used["GAIA_HOME"]:
        os.environ |= used
        _import_all()
        _forget_settings()
    for name in used:
        del os.environ[name]
    gc.collect()
    gc.freeze()  # it stays, and its pages stay shared


def _import_all() -> None:
    django.setup()
    from django.conf import settings

    apps = [name for name in settings.INSTALLED_APPS if name.endswith("Config") and not name.startswith("django.")]
    for package in ("common", *(app.partition(".")[0] for app in apps)):
        places = importlib.import_module(package).__path__
        for found in pkgutil.walk_packages(places, f"{package}."):
            if not any(part in found.name for part in _LEFT_OUT):
                importlib.import_module(found.name)
    for name in _BESIDES:
        importlib.import_module(name)
    importlib.import_module("pydantic").create_model("Any")  # the first looks for plugins everywhere: 50 ms


def _forget_settings() -> None:
    """Let go of the settings, and of what was made from them."""
    from django.conf import settings
    from django.core.cache import caches
    from django.db import connections
    from django.utils.functional import empty

    handlers: tuple[Any, Any] = (connections, caches)
    for handler in handlers:
        for alias in handler:
            if hasattr(handler._connections, alias):
                del handler[alias]
        handler._settings = None
        vars(handler).pop("settings", None)
    del sys.modules["gaia_site.cli.__main__"]  # or who runs it would be warned that it is there twice
    del sys.modules["gaia_site.settings"], vars(sys.modules["gaia_site"])["settings"]
    settings._wrapped = empty


def ask_for_settings() -> None:
    """In a process that was forked: the settings are read when its program sets Django up."""
    setup = django.setup

    def once(*args: Any, **kwargs: Any) -> None:
        django.setup = setup
        setup(*args, **kwargs)
        _ask_again()

    django.setup = once


def _ask_again() -> None:
    """Give the settings to what has read others when it was imported."""
    import django_q.conf
    from django.conf import settings

    from gaia_site import schedules

    known = django_q.conf.Conf
    for name, value in vars(importlib.reload(django_q.conf).Conf).items():
        if not name.startswith("__"):
            setattr(known, name, value)
    schedules.SCHEDULES["health"]["minutes"] = settings.GAIA["health.interval"]


_load()

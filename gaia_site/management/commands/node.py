from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import ExitStack
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand

from common.errors import Conflict, Unavailable
from common.files import file_lock, write_atomic
from common.home import gaia_home
from environments import reconcile as environments
from events.actor import acting_as
from gaia_site import checks, parts
from gaia_site import node as wiring
from gaia_site.databases import fingerprint
from gaia_site.schedules import ensure_schedules
from processes.actions.nodes import ensure_node, node_name
from processes.daemon import Daemon

_SWITCH_S = 0.0005  # Python's own is 5 ms
_LOCK_PATIENCE_S = 1.0  # whoever asks whether a daemon runs has the lock for some microseconds


class Command(BaseCommand):
    help = "The node daemon, in the foreground: what `gaia up` starts, and what a systemd unit runs."
    requires_system_checks = (checks.OWN,)

    def handle(self, *args: Any, **options: Any) -> None:
        with ExitStack() as held:
            try:
                home = gaia_home().ensure()
                held.enter_context(file_lock(home.run / "node.lock", timeout=_LOCK_PATIENCE_S, what="this node"))
            except Conflict as error:
                self._fail(f"a daemon already runs for this home: {error.detail.get('holder')}", error.exit_code)
            except OSError as error:
                fix = "Make room on the disk, or see to its owner and permissions."
                self._fail(
                    f"the daemon cannot use {gaia_home().root}: {error.strerror}\n  {fix}", Unavailable.exit_code
                )
            self._run()

    def _fail(self, text: str, code: int) -> NoReturn:
        self.stderr.write(f"gaia: {text}")
        raise SystemExit(code)

    def _run(self) -> None:
        # whoever comes with other settings is told instead of shown another database's emptiness
        write_atomic(gaia_home().run / "database", fingerprint(settings.DATABASES["default"]))
        with acting_as(f"node:{node_name()}"):
            node = ensure_node()
            ensure_schedules()
            environments.catch_up(node)
            parts.ensure(node)
        # A crashed service is started again by a thread that reads hundreds of small files on the way, and after each
        # of them may have to wait that long for another one that computes.
        sys.setswitchinterval(_SWITCH_S)
        asyncio.run(Daemon(node, wiring.loops(node), wiring.keeper(node)).run())
        # Threads that wait for git, tmux or a process that is being ended need not be waited for: whatever they do
        # survives a kill -9, so it survives this, and the next daemon does the rest.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

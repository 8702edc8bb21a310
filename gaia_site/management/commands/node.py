from __future__ import annotations

import asyncio
import logging
from typing import Any

from django.core.management.base import BaseCommand

from common.errors import Conflict
from common.files import file_lock
from common.home import gaia_home
from events.actor import acting_as
from gaia_site import node as wiring
from gaia_site.schedules import ensure_schedules
from processes.actions.nodes import ensure_node, node_name
from processes.daemon import Daemon

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "The node daemon, in the foreground: what `gaia up` starts, and what a systemd unit runs."

    def handle(self, *args: Any, **options: Any) -> None:
        home = gaia_home().ensure()
        try:
            with file_lock(home.run / "node.lock", what="this node"):
                with acting_as(f"node:{node_name()}"):
                    node = ensure_node()
                    ensure_schedules()
                asyncio.run(Daemon(node, wiring.loops(node)).run())
        except Conflict as error:
            self.stderr.write(f"A daemon already runs for {home.root}: {error.detail.get('holder')}")
            raise SystemExit(error.exit_code) from None

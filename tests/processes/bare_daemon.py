"""The node daemon as `manage.py node` runs it, without web, jobs and the other rooms' reconcilers."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import django


def main() -> None:
    django.setup()
    from common.files import file_lock
    from common.home import gaia_home
    from events.actor import acting_as
    from processes.actions.nodes import ensure_node
    from processes.daemon import Daemon
    from services.supervisor import Supervisor

    with file_lock(gaia_home().ensure().run / "node.lock", timeout=5):
        with acting_as("node:test"):
            node = ensure_node()
        asyncio.run(Daemon(node, [], Supervisor(node)).run())
        logging.shutdown()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()

"""The node daemon as `manage.py node` runs it, without web, jobs and sessions: environments do not need them."""

import asyncio

import django


def main() -> None:
    django.setup()
    from common.files import file_lock
    from common.home import gaia_home
    from environments import reconcile as environments
    from events.actor import acting_as
    from gaia_site import node as wiring
    from processes.actions.nodes import ensure_node
    from processes.daemon import Daemon

    with file_lock(gaia_home().run / "node.lock", timeout=5, what="this node"):
        with acting_as("node:test"):
            node = ensure_node()
            environments.catch_up(node)
        loops = [loop for loop in wiring.loops(node) if loop.name != "sessions"]
        asyncio.run(Daemon(node, loops, wiring.keeper(node)).run())


if __name__ == "__main__":
    main()

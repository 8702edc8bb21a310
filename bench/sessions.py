"""Sessions in tmux: seeing 26, 100 and 500 of them, and starting a fleet of 26, against libtmux on the same server.

Run: python bench/sessions.py [--quick] [--json] [--rounds N]

The listing: `TmuxServer.snapshot()` against libtmux's `server.sessions` and `server.panes`, its bulk calls, each one
call of tmux; both give name, ids, pid, state and directory of every pane. The start: `TmuxServer.create()` against
`server.new_session()` one by one, with the start of the server in both; GAIA's also marks each pane with id,
provider, group and role, and so does libtmux in "with marks". Every server is on a socket of its own and is ended
whatever happens. At last the command line: `gaia --group-status` of the fleet, with the console up and down.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from bench.table import Bench, Measure, Peer, scratch  # noqa: E402, the path comes first
from sessions.drivers.tmux import Created, NewSession, TmuxServer  # noqa: E402

FLEET = 26
LISTED = (26, 100, 500)
PROGRAM = "/bin/cat"
TAGS = {"name": "worker", "provider": "claude", "group": "dev_workers", "role": "development", "runs": "agent"}

LIBTMUX = """
import json, time
import libtmux

def measure(argument):
    what = json.loads(argument)
    server = libtmux.Server(socket_path=what["socket"], config_file=what["config"])
    started = time.perf_counter()
    if what["do"] == "list":
        count = len(server.sessions)
        assert len(server.panes) == count == what["count"], count
    elif what["do"] == "panes":
        assert len(server.panes) == what["count"]
    else:
        for number in range(what["count"]):
            session = server.new_session(
                f"s{number}", start_directory=what["cwd"], window_command=what["program"], x=200, y=50
            )
            if what["do"] == "start and mark":
                for name, value in what["tags"].items():
                    session.active_pane.set_option(f"@gaia_{name}", value)
    return time.perf_counter() - started
"""


def main() -> int:
    bench = Bench("sessions", sys.argv[1:], description=__doc__)
    with scratch("sessions") as name:
        directory = Path(name)
        with Peer(directory, ["libtmux==0.62.0"], LIBTMUX) as libtmux:
            if libtmux.note:
                bench.note(libtmux.note)
            for count in LISTED:
                compare_listing(bench, libtmux, directory, count)
            for count in (FLEET, 10 * FLEET):
                compare_start(bench, libtmux, directory, count)
        compare_cli(bench, directory)
    bench.note(f"load average: {os.getloadavg()[0]:.1f}")
    return bench.finish()


def compare_listing(bench: Bench, libtmux: Peer, directory: Path, count: int) -> None:
    """The status of so many sessions, both from the same server."""
    with tmux_server(directory) as server:
        fill(server, directory, count)
        while any(pane.current_command != Path(PROGRAM).name for pane in server.snapshot().panes):
            time.sleep(0.1)  # the programs are still starting
        about = {"socket": str(server.socket_path), "config": str(directory / "tmux.conf"), "count": count}

        def ours() -> None:
            assert len(server.snapshot().panes) == count

        case = f"status of {count}"
        bench.compare(
            case,
            {
                "gaia": ours,
                "libtmux": lambda: libtmux.measure(json.dumps({**about, "do": "list"})),
                "libtmux, panes only": lambda: libtmux.measure(json.dumps({**about, "do": "panes"})),
            },
            rounds=bench.rounds if bench.quick else max(bench.rounds, 9),
        )
        budget = 6.0 if count == max(LISTED) else 1.0
        bench.ratio(f"{case}: libtmux / GAIA", case=case, fast="gaia", slow="libtmux", budget=budget)


def compare_start(bench: Bench, libtmux: Peer, directory: Path, count: int) -> None:
    """The start of so many sessions on a server that does not run yet."""
    with tmux_server(directory) as server:
        about = {
            "socket": str(server.socket_path), "config": str(directory / "tmux.conf"), "count": count,
            "cwd": str(directory), "program": PROGRAM, "tags": {"id": "id", **TAGS},
        }  # fmt: skip
        case = f"start of {count}"
        engines: dict[str, Measure] = {
            "gaia": lambda: fill(server, directory, count),
            "libtmux": lambda: libtmux.measure(json.dumps({**about, "do": "start"})),
        }
        if count == FLEET:  # ten times as many would take minutes
            engines["libtmux, with marks"] = lambda: libtmux.measure(json.dumps({**about, "do": "start and mark"}))
        rounds = 3 if bench.quick and count > FLEET else bench.rounds
        bench.compare(case, engines, rounds=rounds, between=lambda: end(server))
        bench.ratio(f"{case}: libtmux / GAIA", case=case, fast="gaia", slow="libtmux", budget=2.0)


def end(server: TmuxServer) -> None:
    """End the server, so that the next start includes its own."""
    server.kill_server()


def compare_cli(bench: Bench, directory: Path) -> None:
    """`gaia --group-status` of the fleet: asked of the console, and with GAIA down read from the database."""
    case = "gaia --group-status"
    with platform(directory) as gaia:

        def show() -> None:
            assert gaia("--group-status").count("Dev Environment") == 5

        up = bench.compare(f"{case}, console up", {"gaia": show}, rounds=2 * bench.rounds)["gaia"]
        gaia("down")
        down = bench.compare(f"{case}, console down", {"gaia": show}, rounds=2 * bench.rounds)["gaia"]
    bench.figure(f"{case}, console up, seconds", up, budget=0.150, better="lower")
    bench.figure(f"{case}, console down, seconds", down, budget=0.900, better="lower")


@contextmanager
def platform(directory: Path) -> Iterator[Callable[..., str]]:
    """A GAIA of its own with the demo's environments and fleet; gives what runs its command line."""
    ports = free_ports()
    env = {name: value for name, value in os.environ.items() if not name.startswith("GAIA_")}
    env |= {"GAIA_HOME": str(directory / "home"), "TMUX_TMPDIR": str(directory)}
    env |= {"GAIA_ENVIRONMENTS_BASE_PORT": str(ports + 1), "GAIA_SESSIONS_SOCKET_DIRS": str(directory / "sockets")}

    def gaia(*words: str) -> str:
        argv = [str(ROOT / "gaia"), *words]
        return subprocess.run(argv, env=env, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout

    try:
        gaia("up", "--demo", "--detach", "--json", "--port", str(ports))
        yield gaia
    finally:
        gaia("down", "--all")


def free_ports() -> int:
    """A port for the console; the environments take those after it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(int(probe.getsockname()[1]), 60_000)


def fill(server: TmuxServer, directory: Path, count: int) -> None:
    """Start so many marked sessions."""
    batch = [NewSession(f"s{number}", f"id-{number}", directory, (PROGRAM,), {}, TAGS) for number in range(count)]
    assert all(isinstance(result, Created) for result in server.create(batch))


@contextmanager
def tmux_server(directory: Path) -> Iterator[TmuxServer]:
    """A server on a socket in this directory, ended with the block."""
    server = TmuxServer("bench", config=directory / "tmux.conf", tmpdir=directory)
    server.socket_path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        yield server
    finally:
        server.kill_server()


if __name__ == "__main__":
    sys.exit(main())

"""Control clients on a real tmux: every command has its own answer, whatever panes print and whoever dies."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from common.errors import InvalidInput
from sessions.drivers import control_client
from sessions.drivers.control_client import ControlClient, ControlEnded
from sessions.drivers.control_exchange import Desynchronised, Exchange, blocks_of
from sessions.drivers.control_notifications import Ended, Lost, Notifications
from sessions.drivers.control_parser import (
    Block,
    Notification,
    Output,
    Paused,
    SessionRenamed,
    SessionsChanged,
    WindowRenamed,
)
from sessions.drivers.control_session import Purpose, is_control_session, new_name
from sessions.drivers.tmux import NoServer, TmuxError, TmuxHung, TmuxServer
from sessions.drivers.tmux_script import command, line
from tests.sessions.drivers.conftest import FAST, Start, server_pid, stopped
from tests.waiting import PATIENCE_S, until

PRINT = 'stty -echo; echo ready; while read -r line; do printf "$line"; done'


async def eventually(question: Any) -> Any:
    """`until`, with the event loop running on."""
    async with asyncio.timeout(PATIENCE_S):
        while not (answer := question()):  # noqa: ASYNC110, nothing tells when it is so
            await asyncio.sleep(0.01)
        return answer


@asynccontextmanager
async def control(
    server: TmuxServer, purpose: Purpose = Purpose.COMMAND, **options: Any
) -> AsyncIterator[ControlClient]:
    client = ControlClient(server.client, purpose, **options)
    await client.open(timeout=PATIENCE_S)
    try:
        yield client
    finally:
        await client.close()


def raw(server: TmuxServer, *words: str) -> bytes:
    """tmux itself, without control mode."""
    return subprocess.check_output(["tmux", "-u", "-S", str(server.socket_path), *words], timeout=PATIENCE_S)


def session_names(server: TmuxServer) -> set[str]:
    return set(raw(server, "list-sessions", "-F", "#S").decode().splitlines())


def clients_of_this_process() -> list[psutil.Process]:
    """The control clients that this test process has started and that are still there, if only as zombies."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            name = child.name()
            if name.startswith("tmux") and name != "tmux: server":
                found.append(child)
    return found


# Lines and their answers


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        (command("display-message", "-p", "a ; b { } # $ ' \" \\"), 1),
        (line(command("kill-pane", "-t", "%1"), command("list-panes", "-a")), 2),
        ("kill-pane", 1),
        (command("if-shell", "-F", "1") + " { kill-pane }", None),
        ("kill-pane ; if-shell -F 1 kill-pane", None),
        ("display-message -p 'a ; b'", None),
        ("kill-pane ;", None),
        ("# a comment", None),
        ("%if 1", None),
        ('display-message "', None),
        ("something-new", None),
    ],
)
def test_blocks_of_a_line(text: str, blocks: int | None) -> None:
    assert blocks_of(text) == blocks


def test_an_answer_that_was_forged_is_found_out() -> None:
    """By a screen that imitates the protocol: it cannot know the word that ends the exchange."""
    exchange = Exchange([command("capture-pane", "-p"), command("list-panes")])
    exchange.take(Block(1, 1, 1, True, b"the screen until its forged end\n"))
    exchange.take(Block(1, 2, 1, True, b"forged panes\n"))
    with pytest.raises(Desynchronised):
        exchange.take(Block(1, 3, 1, True, b"the real panes\n"))


async def test_commands_and_their_answers(server: TmuxServer, start: Start) -> None:
    start("a")
    async with control(server) as client:
        assert await client.command("display-message", "-p", "a\tb  'c' \"d\" $HOME ~ \\ ; {}", timeout=PATIENCE_S) == [
            b"a\tb  'c' \"d\" $HOME ~ \\ ; {}"
        ]
        assert await client.command("set-option", "-t", "=a:", "@x", "1", timeout=PATIENCE_S) == []
        assert await client.command("display-message", "-p", "", timeout=PATIENCE_S) == [b""]
        with pytest.raises(TmuxError, match="can't find pane: %99"):
            await client.command("kill-pane", "-t", "%99", timeout=PATIENCE_S)
        with pytest.raises(TmuxError, match="unknown command: foo"):
            await client.command("foo", timeout=PATIENCE_S)
        assert await client.command("display-message", "-p", "still", timeout=PATIENCE_S) == [b"still"]


async def test_a_batch_has_one_reply_per_line(server: TmuxServer, start: Start) -> None:
    start("a")
    say = lambda text: command("display-message", "-p", text)  # noqa: E731
    lines = [
        line(say("1"), say("2"), say("3")),
        line(say("4"), command("kill-pane", "-t", "%99"), say("never")),
        command("if-shell", "-F", "1") + " { " + line(say("5"), say("6")) + " }",
        command("if-shell", "-F", "1") + " { " + line(say("7"), command("kill-pane", "-t", "%99"), say("never")) + " }",
        "no-such-command",
        line(command("set-buffer", "-b", "x", "8"), command("show-buffer", "-b", "x")),
    ]
    async with control(server) as client:
        replies = await client.batch(lines, timeout=PATIENCE_S)
        assert await client.batch([], timeout=PATIENCE_S) == []
    assert [(reply.ok, reply.text) for reply in replies] == [
        (True, "1\n2\n3"),
        (False, "4"),
        (True, "5\n6"),
        (False, "7"),
        (False, ""),
        (True, "8"),
    ]
    assert [reply.error for reply in replies] == [
        "", "can't find pane: %99", "", "can't find pane: %99", "parse error: unknown command: no-such-command", "",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\0", "# a comment"])
async def test_what_is_no_line_is_refused(server: TmuxServer, start: Start, text: str) -> None:
    """An empty line would end the client."""
    start("a")
    async with control(server) as client:
        with pytest.raises(InvalidInput):
            await client.batch(["kill-pane -t %99", text], timeout=PATIENCE_S)
        assert client.usable


async def test_300_commands_at_once_from_many_sides(server: TmuxServer, start: Start) -> None:
    start("a")
    async with control(server) as client:

        async def ask(number: int) -> list[bytes]:
            return await client.command("display-message", "-p", f"answer {number}", timeout=PATIENCE_S)

        answers = await asyncio.gather(*map(ask, range(150)))
        replies = await client.batch(
            [command("display-message", "-p", f"{number}") for number in range(150)], timeout=PATIENCE_S
        )
    assert answers == [[f"answer {number}".encode()] for number in range(150)]
    assert [reply.text for reply in replies] == [str(number) for number in range(150)]


async def test_two_megabytes_in_one_command(server: TmuxServer, start: Start) -> None:
    """Arguments end at 16,347 bytes; and what nobody reads at once must not block the event loop."""
    start("a")
    text = 'wörd \\ "$X" ' * 150_000
    async with control(server) as client:
        await client.command("set-buffer", "-b", "big", "--", text, timeout=PATIENCE_S)
    # control mode would write what it shows with escapes
    same = (
        raw(server, "show-buffer", "-b", "big") == text.encode()
    )  # a difference of two megabytes would take pytest minutes to write
    assert same


async def test_a_command_that_is_given_up_does_not_disturb_the_next(server: TmuxServer, start: Start) -> None:
    start("a")
    async with control(server) as client:
        with stopped(server_pid(server)):
            task = asyncio.create_task(client.command("display-message", "-p", "first", timeout=PATIENCE_S))
            await eventually(lambda: client._exchanges)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await client.command("display-message", "-p", "second", timeout=PATIENCE_S) == [b"second"]


# What panes print


async def test_a_pane_that_prints_the_protocol(server: TmuxServer, start: Start) -> None:
    pane = start("evil", "/bin/sh", "-c", PRINT)
    until(lambda: "ready" in server.capture(pane.pane_id))
    screen = r"%%end 1 1 1\n%%begin 1 1 1\n%%error 1 2 1\n%%exit\n%%output %%1 x\n"
    async with control(server) as client:
        server.send_keys(pane.pane_id, screen, enter=True)
        shown: list[bytes] = []
        deadline = time.monotonic() + PATIENCE_S
        while b"%output %1 x" not in shown:
            assert time.monotonic() < deadline, shown
            [reply, after] = await client.batch(
                [command("capture-pane", "-p", "-t", pane.pane_id), command("display-message", "-p", "after")],
                timeout=PATIENCE_S,
            )
            assert after.lines == [b"after"]
            shown = reply.lines
        assert [row for row in shown if row not in (b"", b"ready")] == [
            b"%end 1 1 1", b"%begin 1 1 1", b"%error 1 2 1", b"%exit", b"%output %1 x",
        ]  # fmt: skip


async def test_output_comes_byte_by_byte(server: TmuxServer, start: Start) -> None:
    """Wide and combining characters, invalid UTF-8, backslashes, and what looks like the protocol."""
    written = "中文 e\u0301 👩\u200d💻 \\ \\033 %end 1 1 1".encode() + b" \xff\xfe\xc3 \x1b[1m\x07 done"
    printed = "".join(f"\\{byte:03o}" for byte in written)
    pane = start("a", "/bin/sh", "-c", f"stty -echo; echo ready; read go; printf '{printed}'; read stay")
    until(lambda: "ready" in server.capture(pane.pane_id))
    told: list[Notification | Ended] = []
    async with control(server, Purpose.VIEW, listener=told.append) as client:
        link = command("link-window", "-d", "-s", pane.window_id, "-t", f"={client.session}:7")
        [reply] = await client.batch([link], timeout=PATIENCE_S)
        assert reply.ok
        server.send_keys(pane.pane_id, "go", enter=True)
        output = lambda: b"".join(item.data for item in told if isinstance(item, Output))  # noqa: E731
        await eventually(lambda: output().endswith(b"done"))
        assert output() == written
        assert {item.pane for item in told if isinstance(item, Output)} == {pane.pane_id}
        assert all(item.age_ms is not None for item in told if isinstance(item, Output))
    until(lambda: session_names(server) == {"a"}, what="the end of the view")


async def test_answers_in_order_under_a_flood(server: TmuxServer, start: Start) -> None:
    pane = start("flood", "/bin/sh", "-c", "yes '%end 1 1 1 a flood of output'")
    received = 0

    def count(item: Notification | Ended) -> None:
        nonlocal received
        received += len(item.data) if isinstance(item, Output) else 0
        if isinstance(item, Paused):
            pytest.fail("we read all the time")

    async with control(server, Purpose.VIEW, listener=count) as client:
        link = command("link-window", "-d", "-s", pane.window_id, "-t", f"={client.session}:7")
        await client.batch([link], timeout=PATIENCE_S)
        number = 0
        while received < 2_000_000:
            lines = [command("display-message", "-p", f"{number + step}") for step in range(10)]
            replies = await client.batch(lines, timeout=PATIENCE_S)
            assert [reply.text for reply in replies] == [f"{number + step}" for step in range(10)]
            number += 10


# Notifications


async def test_news_of_all_sessions(server: TmuxServer, start: Start) -> None:
    start("a")
    told: list[Notification | Ended] = []
    async with control(server, listener=told.append) as client:
        start("b")
        await eventually(lambda: SessionsChanged() in told)
        server.objects().cmd("rename-session", "-t", "=b", "c")
        server.objects().cmd("rename-window", "-t", "=c:", "w")
        await eventually(lambda: [item for item in told if isinstance(item, SessionRenamed) and item.name == "c"])
        await eventually(lambda: [item for item in told if isinstance(item, WindowRenamed) and item.name == "w"])
        assert client.usable
    assert isinstance(told[-1], Ended)
    assert sum(isinstance(item, Ended) for item in told) == 1


async def test_a_listener_that_fails_stops_nothing(server: TmuxServer, start: Start) -> None:
    start("a")

    def fail(item: Notification | Ended) -> None:
        raise RuntimeError("a bug")

    async with control(server, listener=fail) as client:
        assert await client.command("display-message", "-p", "x", timeout=PATIENCE_S) == [b"x"]


async def test_a_slow_reader_of_notifications_is_told_what_it_lost() -> None:
    queue = Notifications(items=3, size=10)
    for item in (Output("%1", b"12345"), Output("%1", b"678901"), Paused("%1"), Paused("%2"), Paused("%3")):
        queue(item)
    reader = aiter(queue)
    assert [await anext(reader) for _ in range(2)] == [Output("%1", b"12345"), Lost(1)]
    queue(Output("%1", b"1234567890"))
    queue(Ended("bye"))
    assert [item async for item in reader] == [Paused("%1"), Lost(2), Output("%1", b"1234567890")]


async def test_notifications_end_with_the_client(server: TmuxServer, start: Start) -> None:
    start("a")
    queue = Notifications()
    async with control(server, listener=queue):
        start("b")
        async for item in queue:
            if item == SessionsChanged():
                break
    assert all(not isinstance(item, Lost) for item in [item async for item in queue])


# Beginning, end, and failures


async def test_without_a_server_none_is_started(server: TmuxServer) -> None:
    server.socket_path.parent.mkdir(mode=0o700)
    client = ControlClient(server.client, Purpose.COMMAND)
    with pytest.raises(NoServer):
        await client.open(timeout=PATIENCE_S)
    assert not client.usable
    assert not server.socket_path.exists()
    assert clients_of_this_process() == []
    with pytest.raises(TmuxError):
        await client.command("list-panes", timeout=PATIENCE_S)
    await client.close()


async def test_nothing_is_left_behind(server: TmuxServer, start: Start) -> None:
    start("a")
    async with control(server) as client, control(server, Purpose.VIEW) as view:
        assert all(map(is_control_session, session_names(server) - {"a"}))
        assert client.session != view.session
        await client.command("display-message", "-p", "x", timeout=PATIENCE_S)
        await view.command("display-message", "-p", "x", timeout=PATIENCE_S)
    assert clients_of_this_process() == []
    assert not client.usable
    until(lambda: server.objects().cmd("list-sessions", "-F", "#S").stdout == ["a"], what="the end of their sessions")
    with pytest.raises(ControlEnded, match="closed"):
        await client.command("list-panes", timeout=PATIENCE_S)
    await client.close()


async def test_two_clients_at_once_do_not_meet(server: TmuxServer, start: Start) -> None:
    start("a")
    async with control(server) as one, control(server) as other:
        say = [
            [command("display-message", "-p", f"{who} {number}") for number in range(100)] for who in ("one", "other")
        ]
        replies = await asyncio.gather(
            *(c.batch(lines, timeout=PATIENCE_S) for c, lines in zip((one, other), say, strict=True))
        )
        assert [[reply.text for reply in each] for each in replies] == [
            [f"{who} {number}" for number in range(100)] for who in ("one", "other")
        ]
        await one.close()
        assert await other.command("display-message", "-p", "on", timeout=PATIENCE_S) == [b"on"]


async def test_a_killed_client_says_so_and_leaves_nothing(server: TmuxServer, start: Start) -> None:
    start("a")
    told: list[Notification | Ended] = []
    async with control(server, listener=told.append) as client:
        assert client.pid is not None
        with stopped(server_pid(server)):
            task = asyncio.create_task(client.command("display-message", "-p", "x", timeout=PATIENCE_S))
            await eventually(lambda: client._exchanges)
            os.kill(client.pid, signal.SIGKILL)
            with pytest.raises(ControlEnded):
                await task
        await eventually(lambda: told and isinstance(told[-1], Ended))
        assert not client.usable
    assert clients_of_this_process() == []
    async with asyncio.timeout(PATIENCE_S):
        while session_names(server) != {"a"}:  # what is left of it is ended by the next one
            async with control(server):
                pass


async def test_what_a_killed_process_of_ours_left_is_ended_by_the_next(server: TmuxServer, start: Start) -> None:
    start("a")
    raw(server, "new-session", "-d", "-s", new_name(Purpose.VIEW), "/bin/cat")
    assert len(session_names(server)) == 2
    async with control(server, Purpose.VIEW) as view, control(server) as client:
        assert session_names(server) == {"a", view.session, client.session}


async def test_a_killed_server_ends_its_clients(server: TmuxServer, start: Start) -> None:
    start("a")
    pid = server_pid(server)
    async with control(server) as client:
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not client.usable)
        with pytest.raises(ControlEnded):
            await client.command("list-panes", timeout=PATIENCE_S)
        assert clients_of_this_process() == []
    with pytest.raises(NoServer):
        await ControlClient(server.client, Purpose.COMMAND).open(timeout=PATIENCE_S)


async def test_a_server_that_is_told_to_end(server: TmuxServer, start: Start) -> None:
    start("a")
    told: list[Notification | Ended] = []
    async with control(server, listener=told.append) as client:
        server.kill_server()
        await eventually(lambda: not client.usable)
        assert isinstance(told[-1], Ended)
    assert clients_of_this_process() == []


async def test_a_server_that_hangs(server: TmuxServer, start: Start) -> None:
    """The client is broken, closed, and says so; once the server goes on, a new one works."""
    start("a")
    async with control(server) as client:
        with stopped(server_pid(server)):
            with pytest.raises(TmuxHung):
                await client.command("list-panes", timeout=FAST)
            assert not client.usable
            assert clients_of_this_process() == []
            with pytest.raises(TmuxHung):
                await client.command("list-panes", timeout=PATIENCE_S)
            fresh = ControlClient(server.client, Purpose.COMMAND)
            with pytest.raises(TmuxHung):
                await fresh.open(timeout=FAST)
            assert clients_of_this_process() == []
    async with control(server) as client:
        assert await client.command("display-message", "-p", "x", timeout=PATIENCE_S) == [b"x"]
    async with asyncio.timeout(PATIENCE_S):
        while session_names(server) != {"a"}:
            async with control(server):
                pass


async def test_waiting_for_ones_turn_is_not_the_servers_fault(server: TmuxServer, start: Start) -> None:
    start("a")
    async with control(server) as client:
        async with client._turn:
            with pytest.raises(TmuxHung):
                await client.command("list-panes", timeout=0.01)
        assert client.usable


async def test_an_overlong_answer_is_an_error_of_its_command(
    server: TmuxServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("a")
    async with control(server) as client:
        client._parser._block_limit = 100
        long = command("display-message", "-p", "x" * 200)
        replies = await client.batch([long, command("display-message", "-p", "short")], timeout=PATIENCE_S)
        assert [(reply.ok, reply.text, reply.error) for reply in replies] == [
            (False, "", "the answer is too long"),
            (True, "short", ""),
        ]


async def test_over_ssh(
    server: TmuxServer, start: Start, tmux_dir: Path, monkeypatch: pytest.MonkeyPatch, make_server: Any
) -> None:
    """A stand-in for ssh runs the command by a shell, as sshd does, without any of our environment."""
    start("a")
    ssh = tmux_dir / "bin" / "ssh"
    ssh.parent.mkdir()
    path = shlex.quote(os.environ["PATH"])
    ssh.write_text(f'#!/bin/sh\nwhile [ "$1" != host ]; do shift; done\nexec env -i PATH={path} /bin/sh -c "$2"\n')
    ssh.chmod(0o755)
    there = TmuxServer("t", tmpdir=tmux_dir, env={"PATH": f"{ssh.parent}:{os.environ['PATH']}"})
    async with control(there, host="host") as client:
        assert await client.command("display-message", "-p", "ä b", timeout=PATIENCE_S) == ["ä b".encode()]
    assert psutil.Process().children() == [child for child in psutil.Process().children() if "ssh" not in child.name()]
    with pytest.raises(InvalidInput):
        await ControlClient(server.client, Purpose.COMMAND, host="-oProxyCommand=x").open()


async def test_a_batch_is_sent_in_windows(server: TmuxServer, start: Start) -> None:
    assert [len(window) for window in control_client._windows(["x"] * 150)] == [64, 64, 22]
    assert [len(window) for window in control_client._windows(["x" * 600_000] * 3)] == [1, 1, 1]


async def test_a_control_session_is_not_listed(server: TmuxServer, start: Start) -> None:
    pane = start("a")
    async with control(server, Purpose.VIEW) as client:
        link = command("link-window", "-d", "-s", pane.window_id, "-t", f"={client.session}:7")
        await client.batch([link], timeout=PATIENCE_S)
        assert len(session_names(server)) == 2
        assert [(seen.session_name, seen.pane_id) for seen in server.snapshot().panes] == [("a", pane.pane_id)]

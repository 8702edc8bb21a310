"""Both ways to a tmux server keep one contract, and the breaker chooses the one that works."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

import psutil
import pytest

from common.errors import InvalidInput
from sessions.drivers.control_exchange import Reply
from sessions.drivers.control_session import is_control_session
from sessions.drivers.tmux import NoServer, TmuxError, TmuxHung, TmuxServer
from sessions.drivers.tmux_link import BreakerState, ControlLink, PlainLink, SafeLink, TmuxLink, safe_link
from sessions.drivers.tmux_script import command, line
from tests.sessions.drivers.conftest import FAST, Start, server_pid, stopped
from tests.waiting import PATIENCE_S, until

LinkMaker = Callable[..., TmuxLink]


@pytest.fixture(params=["control", "plain", "safe"])
def link(request: pytest.FixtureRequest, server: TmuxServer) -> Iterator[TmuxLink]:
    kinds: dict[str, LinkMaker] = {"control": ControlLink, "plain": PlainLink, "safe": safe_link}
    made = kinds[request.param](server.client)
    yield made
    made.close()


def say(text: str) -> str:
    return command("display-message", "-p", text)


# The contract


def test_one_reply_per_line(link: TmuxLink, start: Start) -> None:
    start("a")
    lines = [
        line(say("1"), say("two words"), say("")),
        line(say("4"), command("kill-pane", "-t", "%99"), say("never")),
        command("if-shell", "-F", "1") + " { " + line(say("5"), say("6")) + " }",
        "no-such-command",
        command("set-buffer", "-b", "x", "\ta\\b\"'$HOME~#{x};{}ä\n"),
        "another-one 'that is none'",
        say("\t8"),
    ]
    replies = link.run(lines, timeout=PATIENCE_S)
    assert replies == [
        Reply(True, [b"1", b"two words", b""]),
        Reply(False, [b"4"], "can't find pane: %99"),
        Reply(True, [b"5", b"6"]),
        Reply(False, [], "parse error: unknown command: no-such-command"),
        Reply(True, []),
        Reply(False, [], "parse error: unknown command: another-one"),
        Reply(True, [b"\t8"]),
    ]
    assert replies[0].text == "1\ntwo words\n"
    assert link.run([], timeout=PATIENCE_S) == []


def test_what_is_written_reaches_the_pane_to_the_letter(link: TmuxLink, start: Start, server: TmuxServer) -> None:
    pane = start("a")
    text = "a\\b \"c\" 'd' $HOME ~ #{x} ; { } % ä 中"
    [reply] = link.run([command("send-keys", "-l", "-t", pane.pane_id, "--", text)], timeout=PATIENCE_S)
    assert reply == Reply(True, [])
    until(lambda: text in server.capture(pane.pane_id))
    [shown] = link.run([command("capture-pane", "-p", "-t", pane.pane_id)], timeout=PATIENCE_S)
    assert shown.lines[0].decode() == text
    assert len(shown.lines) == pane.height


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\0", "# a comment"])
def test_what_is_no_line_is_refused(link: TmuxLink, start: Start, text: str) -> None:
    start("a")
    with pytest.raises(InvalidInput):
        link.run([text], timeout=PATIENCE_S)
    assert link.run([say("on")], timeout=PATIENCE_S)[0].text == "on"


def test_a_long_command(link: TmuxLink, start: Start) -> None:
    start("a")
    [reply, length] = link.run(
        [command("set-buffer", "-b", "x", "y" * 300_000), say("#{buffer_size}")], timeout=PATIENCE_S
    )
    assert (reply.ok, length.ok) == (True, True)
    [rows] = link.run([command("list-buffers", "-F", "#{buffer_size}")], timeout=PATIENCE_S)
    assert rows.text == "300000"


def test_no_server(link: TmuxLink, server: TmuxServer) -> None:
    server.socket_path.parent.mkdir(mode=0o700)
    with pytest.raises(NoServer):
        link.run([say("x")], timeout=PATIENCE_S)
    assert not server.socket_path.exists()


def test_a_server_that_hangs_and_goes_on(link: TmuxLink, server: TmuxServer, start: Start) -> None:
    start("a")
    assert link.run([say("x")], timeout=PATIENCE_S)[0].ok
    with stopped(server_pid(server)), pytest.raises(TmuxHung):
        link.run([say("x")], timeout=FAST)
    assert link.run([say("on")], timeout=PATIENCE_S)[0].text == "on"


def test_a_server_that_is_started_again(link: TmuxLink, server: TmuxServer, start: Start) -> None:
    start("a")
    assert link.run([say("x")], timeout=PATIENCE_S)[0].ok
    first = server_pid(server)
    server.kill_server()
    start("b")

    def again() -> bool:
        try:
            return link.run([say("#{pid}")], timeout=PATIENCE_S)[0].text not in ("", str(first))
        except TmuxError:  # a control client may not have noticed yet
            return False

    until(again, what="an answer of the new server")


def test_many_threads(link: TmuxLink, start: Start) -> None:
    start("a")
    answers: dict[int, list[str]] = {}

    def ask(number: int) -> None:
        lines = [say(f"{number}-{step}") for step in range(20)]
        answers[number] = [reply.text for reply in link.run(lines, timeout=PATIENCE_S)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [f"{number}-{step}" for step in range(20)] for number in range(8)}


def test_nothing_is_left_behind(link: TmuxLink, server: TmuxServer, start: Start) -> None:
    start("a")
    threads = threading.active_count()
    for _ in range(2):  # it can be used again
        assert link.run([say("x")], timeout=PATIENCE_S)[0].ok
        link.close()
        assert threading.active_count() == threads
        assert [child for child in psutil.Process().children() if "control" in child.name()] == []
    names = lambda: PlainLink(server.client).run([command("list-sessions", "-F", "#S")], timeout=PATIENCE_S)[0].text  # noqa: E731
    until(lambda: not any(map(is_control_session, names().splitlines())), what="the end of its session")


def test_a_control_client_that_was_killed_is_replaced(server: TmuxServer, start: Start) -> None:
    start("a")
    link = ControlLink(server.client)
    try:
        link.run([say("x")], timeout=PATIENCE_S)
        control = link._control
        assert control is not None
        assert control.pid is not None
        os.kill(control.pid, signal.SIGKILL)
        until(lambda: not control.usable)
        assert link.run([say("on")], timeout=PATIENCE_S)[0].text == "on"
    finally:
        link.close()


def test_news_reach_the_listener(server: TmuxServer, start: Start) -> None:
    start("a")
    told: list[object] = []
    link = safe_link(server.client, listener=told.append)
    try:
        link.run([say("x")], timeout=PATIENCE_S)
        before = len(told)
        start("b")
        until(lambda: len(told) > before)
    finally:
        link.close()


# The breaker: links that are told what to do stand for a tmux that is hard to bring into that state


class Scripted:
    """A link that answers, or fails with `error` as long as it has one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.error: TmuxError | None = None
        self.calls = 0

    def run(self, lines: Sequence[str], *, timeout: float, repeatable: bool = False) -> list[Reply]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return [Reply(True, [self.name.encode()])]

    def close(self) -> None:
        pass


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def who(link: SafeLink, *, repeatable: bool = True) -> str:
    return link.run(["x"], timeout=1, repeatable=repeatable)[0].text


def test_the_breaker() -> None:
    control, plain, clock = Scripted("control"), Scripted("plain"), Clock()
    link = SafeLink(control, plain, failures=3, pause=60, clock=clock)
    assert who(link) == "control"
    assert link.state == BreakerState(False, 0, 0, 0.0, "")
    control.error = TmuxHung("it hangs")
    assert [who(link) for _ in range(3)] == ["plain"] * 3
    assert link.state == BreakerState(True, 3, 1, 60.0, "it hangs")
    calls = control.calls
    clock.now += 59
    assert who(link) == "plain"
    assert control.calls == calls, "it is left alone"
    clock.now += 1
    assert who(link) == "plain"
    assert control.calls == calls + 1, "and tried again, once"
    assert (link.state.open, link.state.trips, link.state.retry_in) == (True, 1, 60.0)
    clock.now += 60
    control.error = None
    assert who(link) == "control"
    assert link.state == BreakerState(False, 0, 1, 0.0, "it hangs")


def test_what_may_not_be_repeated_is_not() -> None:
    control, plain = Scripted("control"), Scripted("plain")
    link = SafeLink(control, plain, failures=2, clock=Clock())
    control.error = TmuxError("it ended")
    for _ in range(2):
        with pytest.raises(TmuxError, match="it ended"):
            who(link, repeatable=False)
    assert plain.calls == 0
    assert who(link, repeatable=False) == "plain", "nothing was given to the other one"


def test_that_no_server_runs_is_no_failure() -> None:
    control, plain = Scripted("control"), Scripted("plain")
    link = SafeLink(control, plain, failures=1, clock=Clock())
    control.error = NoServer("none")
    with pytest.raises(NoServer):
        who(link)
    assert not link.state.open

"""Typing into a session: one at a time, told of before it is done, and once per idempotency key."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.db import connection

from common.errors import Conflict, InvalidInput
from events.actor import acting_as
from events.models import Event
from sessions.actions import control, start
from sessions.drivers.tmux import NotSubmitted, PaneInMode
from sessions.models import Send, Session
from sessions.states import SendOutcome
from tests.conftest import Operator
from tests.live import ROOT, Web
from tests.sessions.by_hand import Tmux, install
from tests.waiting import until

# Keeps every byte that is typed: in lines of the terminal's own, more than 4,095 characters would be cut.
RECORD = "stty raw -echo; touch ready; exec cat > typed"
TYPIST = """
import sys
import django
django.setup()
from events.actor import acting_as
from sessions.actions import control
session = control.find("mine")
print("ready", flush=True)
sys.stdin.readline()
with acting_as("user:tester"):
    for text in sys.argv[2:]:
        control.send_keys(session, text, idempotency_key=sys.argv[1] or None)
"""
BODY = {"text": "once", "enter": True}

MakeAgent = Callable[..., Session]


@pytest.fixture
def make_agent(acting: str, tmux: Tmux, agents: Path, tmp_path: Path) -> MakeAgent:
    """Starts session `mine` with an agent that keeps what it is sent, Enter some milliseconds after a text."""

    def make(script: str = RECORD, *, enter_delay_ms: int = 0) -> Session:
        providers = settings.GAIA.home.root / "providers"
        providers.mkdir()
        (providers / "slow.yaml").write_text(
            f"version: 1\nname: slow\nlabel: Slow\ncandidates: [{{program: slow}}]\nenter_delay_ms: {enter_delay_ms}\n"
        )
        install(agents, "slow", script)
        session = start.create("mine", provider="slow", cwd=str(tmp_path))
        until((tmp_path / "ready").exists)
        return session

    return make


def typed(session: Session) -> str:
    file = Path(session.cwd, "typed")
    return file.read_bytes().decode() if file.exists() else ""


def kinds() -> list[str]:
    return list(Event.objects.filter(kind__startswith="session.key").order_by("id").values_list("kind", flat=True))


# One at a time

TEXTS = [letter * 5_000 for letter in "abcd"]


def whole(session: Session) -> list[str]:
    """The prompts the agent was given, once all of them have come."""
    until(lambda: len(typed(session)) >= sum(map(len, TEXTS)) + len(TEXTS))
    assert typed(session).endswith("\r")
    return typed(session).removesuffix("\r").split("\r")


def test_two_threads_do_not_type_into_each_other(transactional_db: None, make_agent: MakeAgent) -> None:
    mine = make_agent(enter_delay_ms=300)
    together, problems = threading.Barrier(2), list[BaseException]()

    def type_these(texts: list[str]) -> None:
        try:
            together.wait()
            with acting_as("user:tester"):
                for text in texts:
                    control.send_keys(mine, text)
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=type_these, args=(texts,)) for texts in (TEXTS[:2], TEXTS[2:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert sorted(whole(mine)) == TEXTS


def typist(*texts: str, key: str = "") -> subprocess.Popen[str]:
    """A process that waits for a line and then types."""
    argv = [sys.executable, "-c", TYPIST, key, *texts]
    process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_do_not_type_into_each_other(transactional_db: None, make_agent: MakeAgent) -> None:
    mine = make_agent(enter_delay_ms=500)
    processes = [typist(*TEXTS[:2]), typist(*TEXTS[2:])]
    try:
        for process in processes:
            go(process)
        assert [process.wait(60) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert sorted(whole(mine)) == TEXTS


# Once


def test_a_repeated_request_types_nothing(db: None, make_agent: MakeAgent) -> None:
    mine = make_agent()
    for _ in range(3):
        control.send_keys(mine, "once", idempotency_key="k1")
        control.send_key(mine, "Escape", idempotency_key="k2")
    control.send_keys(mine, "twice", idempotency_key="k3")
    control.send_keys(mine, "twice", idempotency_key="k4")
    control.send_keys(mine, "end")
    until(lambda: typed(mine).endswith("end\r"))
    assert typed(mine) == "once\r\x1btwice\rtwice\rend\r"
    assert kinds() == ["session.keys_sent", "session.key_sent", *["session.keys_sent"] * 3]
    assert "once" not in repr(list(Send.objects.values())), "it may be a password"


def test_two_at_the_same_time_type_once(transactional_db: None, make_agent: MakeAgent) -> None:
    mine = make_agent(enter_delay_ms=300)
    processes = [typist("once", key="k"), typist("once", key="k")]
    try:
        for process in processes:
            go(process)
        assert [process.wait(60) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    control.send_keys(mine, "end")
    until(lambda: typed(mine).endswith("end\r"))
    assert typed(mine) == "once\rend\r"


def test_a_key_is_its_requests(db: None, make_agent: MakeAgent) -> None:
    mine, other = make_agent(), start.create("other")
    control.send_keys(mine, "once", idempotency_key="k")
    others: list[Callable[[], None]] = [
        lambda: control.send_keys(mine, "another", idempotency_key="k"),
        lambda: control.send_keys(mine, "once", enter=False, idempotency_key="k"),
        lambda: control.send_key(mine, "Enter", idempotency_key="k"),
        lambda: control.send_keys(other, "once", idempotency_key="k"),
    ]
    for act in others:
        with pytest.raises(Conflict, match="the idempotency key k was used for another request"):
            act()
    with acting_as("user:somebody"), pytest.raises(Conflict):
        control.send_keys(mine, "once", idempotency_key="k")
    assert kinds() == ["session.keys_sent"]


def test_a_repetition_after_the_sessions_end_types_into_no_later_one(db: None, make_agent: MakeAgent) -> None:
    mine = make_agent()
    control.send_keys(mine, "once", idempotency_key="k")
    control.stop([mine])
    control.send_keys(control.find("mine"), "once", idempotency_key="k")
    again = start.create("mine", provider="slow", cwd=mine.cwd)
    control.send_keys(again, "once", idempotency_key="k")
    assert kinds() == ["session.keys_sent"]


def test_keys_are_kept_for_a_day(db: None, make_agent: MakeAgent) -> None:
    mine = make_agent()
    control.send_keys(mine, "once", idempotency_key="k")
    first = Send.objects.get()
    Send.objects.update(created_at=first.created_at - timedelta(days=1, minutes=1))
    control.send_keys(mine, "another", idempotency_key="k2")
    assert list(Send.objects.values_list("key", flat=True)) == ["k2"]


@pytest.mark.parametrize("key", ["x" * 101, "two\nlines"])
def test_a_key_that_is_none(db: None, make_agent: MakeAgent, key: str) -> None:
    with pytest.raises(InvalidInput, match="idempotency key"):
        control.send_keys(make_agent(), "x", idempotency_key=key)


def test_what_was_not_written_may_be_sent_again(db: None, make_agent: MakeAgent, tmux: Tmux) -> None:
    mine = make_agent()
    tmux("copy-mode", "-t", "=mine:")
    with pytest.raises(PaneInMode):
        control.send_keys(mine, "once", idempotency_key="k")
    assert kinds() == ["session.keys_sent", "session.keys_failed"]
    failed = Event.objects.get(kind="session.keys_failed")
    assert (failed.message, failed.level) == ("4 characters go to mine: it did not arrive", "warning")
    tmux("send-keys", "-X", "-t", "=mine:", "cancel")
    control.send_keys(mine, "once", idempotency_key="k")
    until(lambda: typed(mine) == "once\r")


def test_what_was_written_without_its_enter_is_not_sent_again(db: None, make_agent: MakeAgent) -> None:
    mine = make_agent("stty raw -echo; touch ready; exec head -c 4", enter_delay_ms=1500)
    with pytest.raises(NotSubmitted, match="the text was typed, but Enter was not pressed"):
        control.send_keys(mine, "once", idempotency_key="k")
    with pytest.raises(Conflict, match="nobody knows whether this was typed") as caught:
        control.send_keys(mine, "once", idempotency_key="k")
    assert "the text was typed, but Enter was not pressed" in caught.value.meaning
    assert Event.objects.get(kind="session.keys_failed").message.endswith("but not the Enter that submits it")
    assert Send.objects.get().outcome == SendOutcome.UNSURE


def test_who_is_killed_while_typing_leaves_a_trace(transactional_db: None, make_agent: MakeAgent) -> None:
    mine = make_agent(enter_delay_ms=10_000)
    process = typist("once", key="k")
    try:
        go(process)
        until(lambda: typed(mine) == "once")
    finally:
        process.kill()
        process.communicate()
    [event] = Event.objects.filter(kind__startswith="session.key")
    assert (event.kind, event.actor) == ("session.keys_sent", "user:tester")
    assert event.message == "4 characters go to mine"
    with pytest.raises(Conflict, match="nobody knows whether this was typed into mine") as caught:
        control.send_keys(mine, "once", idempotency_key="k")
    assert "gaia session capture mine" in caught.value.fix
    assert typed(mine) == "once"


def test_a_repetition_after_a_restart_of_the_console_types_nothing(
    transactional_db: None, operator: Operator, make_agent: MakeAgent, start_web: Callable[..., Web]
) -> None:
    mine = make_agent()
    address = "/api/orchestration/sessions/mine/send-keys/"

    def post(web: Web, body: dict[str, Any] = BODY) -> int:
        headers = {**operator.headers, "Idempotency-Key": "k"}
        return httpx.post(f"{web.url}{address}", json=body, headers=headers, timeout=60).status_code

    first = start_web()
    assert post(first) == 204
    first.kill()
    second = start_web()
    assert (post(second), post(second, {**BODY, "text": "another"}), post(second, {"key": "Enter"})) == (204, 409, 409)
    control.send_keys(mine, "end")
    until(lambda: typed(mine).endswith("end\r"))
    assert typed(mine) == "once\rend\r"

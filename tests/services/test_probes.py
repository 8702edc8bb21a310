"""Each kind of probe against what services do: answer, refuse, hang, lie."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.drivers.probe_exec import command
from services.drivers.probe_http import Wanted, http
from services.drivers.probes import LONGEST_ANSWER, Result, ask, good, tcp
from tests.processes.conftest import Until
from tests.services.servers import Servers, ok, own_certificate, silence

ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def servers() -> Iterator[Servers]:
    started = Servers()
    yield started
    started.close()


def run(check: Coroutine[Any, Any, Result], seconds: float = 20.0) -> Result:
    """Ask once; the loop must be left with nothing to do."""

    async def once() -> Result:
        result = await ask(check, seconds)
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"still at work: {left}"
        return result

    return asyncio.run(once())


# -- http


@pytest.mark.parametrize(
    ("answer", "wanted", "good_", "said"),
    [
        (ok(), Wanted(), True, "HTTP 200 OK"),
        (ok(status="204 No Content", body=""), Wanted(), True, "HTTP 204 No Content"),
        (ok(status="399 Odd"), Wanted(), True, "HTTP 399"),
        (ok("the database is away", "503 Service Unavailable"), Wanted(), False,
         "HTTP 503 Service Unavailable: the database is away"),
        (ok(status="404 Not Found"), Wanted((200, 404)), True, "HTTP 404 Not Found"),
        (ok(), Wanted((201, 204)), False, "HTTP 200 OK, not 201 or 204: fine"),
        (ok('{"status": "up"}'), Wanted(text='"status": "up"'), True, "HTTP 200 OK"),
        (ok('{"status": "down"}'), Wanted(text='"status": "up"'), False,
         "HTTP 200 OK, and its body does not contain '\"status\": \"up\"'"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n4\nread\n1\ny\n0\n\n", Wanted(text="ready"), True, "200"),
        ("HTTP/1.0 200 OK\n\nuntil the end", Wanted(text="the end"), True, "200"),
        ("HTTP/1.1 103 Early Hints\n\n" + ok(), Wanted(), True, "HTTP 200 OK"),
        ("hello, who is there?\n\n", Wanted(), False, "what came is not HTTP"),
        ("", Wanted(), False, "the connection was closed without an answer"),
        ("HTTP/1.1 200 OK\nX: " + 70_000 * "x", Wanted(), False, "what came is not HTTP|its headers do not end"),
    ],
)  # fmt: skip
def test_http_answers(servers: Servers, answer: str, wanted: Wanted, good_: bool, said: str) -> None:
    port = servers.answer(answer)
    result = run(http(f"http://127.0.0.1:{port}/health?full=1", wanted=wanted))
    assert result.ok is good_, result.answer
    assert any(part in result.answer for part in said.split("|")), result.answer


def test_http_asks_for_what_the_url_says(servers: Servers) -> None:
    asked: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(ok().replace("\n", "\r\n").encode())

    port = servers.listen(talk)
    assert run(http(f"http://127.0.0.1:{port}/health?full=1", headers={"X-Probe": "yes"})).ok
    first, *headers = asked[0].split("\r\n")
    assert first == "GET /health?full=1 HTTP/1.1"
    assert {f"Host: 127.0.0.1:{port}", "X-Probe: yes", "Connection: close"} <= set(headers)


def test_http_asks_for_a_path_with_odd_characters(servers: Servers) -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(ok().replace("\n", "\r\n").encode())

    port = servers.listen(talk)
    assert run(http(f"http://127.0.0.1:{port}/a b/ü?x=%20&y=[1]\r\nEvil: yes")).ok
    assert asked == [b"GET /a%20b/%C3%BC?x=%20&y=%5B1%5DEvil:%20yes HTTP/1.1"]


def test_http_follows_a_redirect_on_the_same_host_only(servers: Servers) -> None:
    away = servers.answer(ok(status="302 Found", Location="http://203.0.113.9/elsewhere"))
    result = run(http(f"http://127.0.0.1:{away}/"))
    assert result.ok
    assert result.answer == "HTTP 302 Found, leads to http://203.0.113.9/elsewhere"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        here = ok(status="302 Found", Location="/login") if asked == "/" else ok("broken", "500 Internal Server Error")
        writer.write(here.replace("\n", "\r\n").encode())

    broken = servers.listen(talk)
    assert run(http(f"http://127.0.0.1:{broken}/")).answer == "HTTP 500 Internal Server Error: broken"
    assert run(http(f"http://127.0.0.1:{broken}/", wanted=Wanted((302,)))).ok, "the first answer counts then"


def test_http_gives_up_on_redirects_without_end(servers: Servers) -> None:
    ring = servers.answer(ok(status="307 Temporary Redirect", Location="/again"))
    assert "more than 5 redirects" in run(http(f"http://127.0.0.1:{ring}/")).answer


def test_http_with_a_certificate_that_nobody_signed(servers: Servers, tmp_path: Path) -> None:
    port = servers.answer(ok(), tls=own_certificate(tmp_path))
    refused = run(http(f"https://127.0.0.1:{port}/"))
    assert not refused.ok
    assert "its certificate is not trusted" in refused.answer
    assert run(http(f"https://127.0.0.1:{port}/", any_certificate=True)).ok

    async def without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(1000)

    plain = servers.listen(without_tls)
    assert "TLS does not come about" in run(http(f"https://127.0.0.1:{plain}/", any_certificate=True)).answer


def test_http_where_nobody_listens(free_port: int) -> None:
    answer = run(http(f"http://127.0.0.1:{free_port}/")).answer
    assert answer == f"127.0.0.1:{free_port}: the connection was refused: nobody listens there"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://127.0.0.1:99999/", "nonsense"])
def test_http_of_what_is_no_address(url: str) -> None:
    assert "no address to ask" in run(http(url)).answer


def test_http_finds_who_listens_on_ipv6_only(servers: Servers) -> None:
    if not socket.has_ipv6:
        return
    try:
        port = servers.answer(ok(), host="::1")
    except OSError:  # a machine without it has no such programs either
        return
    assert run(http(f"http://127.0.0.1:{port}/")).ok


# -- tcp


def test_tcp(servers: Servers, free_port: int) -> None:
    port = servers.listen(silence)
    assert run(tcp("127.0.0.1", port)).answer == f"127.0.0.1:{port} accepts connections"
    assert "nobody listens" in run(tcp("127.0.0.1", free_port)).answer
    assert not run(tcp("no-such-host.invalid", port)).ok


# -- a hard end


def test_who_hangs_is_given_up(servers: Servers) -> None:
    port = servers.listen(silence)
    result = run(http(f"http://127.0.0.1:{port}/"), 0.3)
    assert not result.ok
    assert result.answer == "no answer within 0.3 s"
    assert result.took_ms >= 300


def test_two_hundred_that_hang_do_not_hold_up_the_one_that_answers(servers: Servers) -> None:
    hanging, answering = servers.listen(silence), servers.answer(ok())

    async def all_of_them() -> tuple[Result, list[Result]]:
        hung = [asyncio.ensure_future(ask(http(f"http://127.0.0.1:{hanging}/"), 60)) for _ in range(200)]
        await asyncio.sleep(0)
        result = await ask(http(f"http://127.0.0.1:{answering}/"), 60)
        early = [each.result() for each in hung if each.done()]
        for each in hung:
            each.cancel()
        await asyncio.gather(*hung, return_exceptions=True)
        return result, early

    result, early = asyncio.run(all_of_them())
    assert result.ok
    assert early == [], "it was answered while all of them hung"


def test_a_check_that_fails_in_its_own_way_is_an_answer() -> None:
    async def broken() -> Result:
        raise KeyError("what")

    assert run(broken()).answer == "the check failed: KeyError: 'what'"


def test_answers_are_one_short_line_without_passwords() -> None:
    async def long() -> Result:
        return good(f"see https://me:hunter2@example.org\n\x1b[31m{'x' * 1000}")

    answer = run(long()).answer
    assert answer.startswith("see https://me:***@example.org [31mxxx")
    assert len(answer) == LONGEST_ANSWER


# -- a command


def test_command_and_its_last_words(tmp_path: Path) -> None:
    said = run(command(["/bin/sh", "-c", "echo one; echo two >&2; echo; pwd"], cwd=tmp_path, env=ENV))
    assert said == Result(True, f"one · two · {tmp_path}", said.took_ms)
    assert run(command(["true"], cwd=tmp_path, env=ENV)).answer == "exited with 0"
    failed = run(command(["/bin/sh", "-c", "echo no database; exit 3"], cwd=tmp_path, env=ENV))
    assert failed.answer == "exited with 3: no database"
    assert run(command(["/bin/sh", "-c", "kill -9 $$"], cwd=tmp_path, env=ENV)).answer == "ended by SIGKILL"


def test_command_that_cannot_be_run(tmp_path: Path) -> None:
    assert run(command(["no-such-program"], cwd=tmp_path, env=ENV)).answer == "no-such-program is not installed"
    gone = tmp_path / "gone"
    assert run(command(["true"], cwd=gone, env=ENV)).answer == f"the directory {gone} does not exist"
    (tmp_path / "text").write_text("x")
    assert "cannot be run: Permission denied" in run(command([str(tmp_path / "text")], cwd=tmp_path, env=ENV)).answer
    assert run(command(["true"], cwd=tmp_path, env=ENV, user="nobody-of-that-name")).answer == (
        "there is no account nobody-of-that-name"
    )


def test_command_runs_as_another_account_where_we_are_root(tmp_path: Path) -> None:
    user = "nobody" if os.geteuid() == 0 else psutil.Process().username()
    assert run(command(["id", "-un"], cwd="/", env=ENV, user=user)).answer == user


def test_command_that_hangs_is_killed_with_its_group(tmp_path: Path, until: Until) -> None:
    script = "trap '' TERM; sleep 600 & echo $! > child; echo $$ > own; while :; do sleep 600; done"
    result = run(command(["/bin/sh", "-c", script], cwd=tmp_path, env=ENV), 1.0)
    assert result.answer == "no answer within 1 s"
    for name in ("child", "own"):
        until(lambda name=name: not _runs(int((tmp_path / name).read_text())))


def test_what_a_command_leaves_running_does_not_hold_the_answer_up(tmp_path: Path, until: Until) -> None:
    result = run(command(["/bin/sh", "-c", "sleep 600 & echo $! > child; echo done"], cwd=tmp_path, env=ENV))
    assert (result.ok, result.answer) == (True, "done")
    until(lambda: not _runs(int((tmp_path / "child").read_text())))


def test_command_that_floods_is_read_to_its_end(tmp_path: Path) -> None:
    flood = "import sys\nfor _ in range(300): sys.stdout.write('x' * 9999 + '\\n')\nprint('the end')"
    result = run(command([sys.executable, "-S", "-c", flood], cwd=tmp_path, env=ENV))
    assert result.ok
    assert len(result.answer) == LONGEST_ANSWER


def test_many_commands_at_once_need_no_thread_each(tmp_path: Path) -> None:
    async def all_of_them() -> int:
        running = [asyncio.ensure_future(ask(command(["sleep", "600"], cwd=tmp_path, env=ENV), 60)) for _ in range(30)]
        while len(psutil.Process().children()) < 30:  # noqa: ASYNC110  the table of processes tells nobody
            await asyncio.sleep(0.02)
        count = threading.active_count()
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return count

    before = threading.active_count()
    assert asyncio.run(all_of_them()) <= before + 2


def _runs(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False

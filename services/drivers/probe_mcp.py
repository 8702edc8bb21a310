"""Asking an MCP server as an agent would: connect, `initialize`, count its tools, go.

Over HTTP the running server is asked. A stdio server has no running instance that could be: each client starts its own.
So one is started, asked and ended, and nothing of it is left.

The official client takes a second and 60 MB to import: that happens with the first question.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from processes.drivers.liveness import members
from processes.drivers.shim import TOKEN_VARIABLE
from processes.drivers.stop import send_signal
from services.drivers.child import Child
from services.drivers.probe_exec import ending, last_lines
from services.drivers.probe_http import trust
from services.drivers.probes import Bad, Result, good, reason, short

_MOST_PAGES = 100  # of a list of tools: one that never ends does not keep us
_GRACE_S = 1.0  # for a stdio server to end by itself when it has answered and its input is closed
_MOMENT_S = 0.05  # for one that gave no answer: whether it has ended
_MOST_OTHERS = 1000  # lines that are no messages: more of them are a flood, not a greeting
_OWN_SHARE = 0.9  # of the time: what is known at its end is worth more than that it is over


async def over_http(url: str, *, seconds: float, any_certificate: bool = False) -> Result:
    """Ask a server with the streamable HTTP transport.

    Args:
        url: of its endpoint, such as http://127.0.0.1:8003/mcp.
        seconds: for all of it; a little less is used.
        any_certificate: accept one that no authority known here has signed.
    """
    mcp = await _package()

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        client = mcp.httpx.AsyncClient(trust_env=False, timeout=seconds, verify=trust(any_certificate))
        async with client, mcp.http.streamable_http_client(url, http_client=client) as streams:
            yield streams

    return await _within(seconds, _ask(mcp, connect), list)


async def over_stdio(
    argv: Sequence[str], *, cwd: Path | str, env: Mapping[str, str], user: str = "", seconds: float
) -> Result:
    """Start a server that talks over standard input and output, ask it, and end it with whatever it started.

    Args:
        argv: program and arguments, run without a shell.
        env: the complete environment.
        user: account it runs as, where we are root; "" for our own.
        seconds: for all of it; a little less is used.
    """
    mcp = await _package()
    heard: list[str] = []

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        token = f"probe-{secrets.token_hex(8)}"
        child = await Child.start(argv, cwd=cwd, env={**env, TOKEN_VARIABLE: token}, user=user, talks=True)
        grace = _MOMENT_S
        try:
            async with _streams(mcp, child, heard) as streams:
                yield streams
            grace = _GRACE_S
        finally:
            heard[:] = await _farewell(child, grace) or heard
            await child.end()
            await asyncio.get_running_loop().run_in_executor(None, _sweep, token)

    return await _within(seconds, _ask(mcp, connect), lambda: heard)


async def _farewell(child: Child, grace: float) -> list[str]:
    """Let it end by itself, its input is closed; how it ended when that was not in peace."""
    try:
        code = await asyncio.wait_for(child.exited(), grace)
    except TimeoutError:
        return []
    words = last_lines(await child.last_words())
    return [] if code == 0 else [f"it {ending(code)}{_behind(words)}"]


def _sweep(token: str) -> None:
    """End whoever left the group of a server that was started for a question."""
    for identity in members(0, token):
        send_signal(identity, signal.SIGKILL)


def _behind(text: str) -> str:
    return f": {text}" if text else ""


async def _within(seconds: float, question: Coroutine[Any, Any, Result], heard: Callable[[], list[str]]) -> Result:
    """The answer, or what was heard in its place."""
    try:
        async with asyncio.timeout(seconds * _OWN_SHARE):
            return await question
    except TimeoutError:
        why = f"no answer to initialize within {seconds:g} s"
    except Bad as no:
        why = str(no)
    raise Bad("; ".join([why, *heard()]))


class _Package:
    """The parts of the official package that are used."""

    def __init__(self) -> None:
        self.anyio = importlib.import_module("anyio")
        self.httpx = importlib.import_module("httpx2")
        self.types = importlib.import_module("mcp_types")
        self.client = importlib.import_module("mcp.client.client")
        self.http = importlib.import_module("mcp.client.streamable_http")
        self.message = importlib.import_module("mcp.shared.message")
        self.errors = importlib.import_module("mcp.shared.exceptions")
        for name in ("mcp", "httpx2"):  # what goes wrong is the answer: no traceback of each in the log
            logging.getLogger(name).setLevel(logging.CRITICAL)


_loaded: list[_Package] = []


async def _package() -> _Package:
    if not _loaded:
        _loaded.append(await asyncio.get_running_loop().run_in_executor(None, _Package))
    return _loaded[0]


async def _ask(mcp: _Package, connect: Callable[[], AbstractAsyncContextManager[Any]]) -> Result:
    """The handshake of the released protocol versions; a server that knows a later one only is asked in its way."""
    try:
        return await _ask_by(mcp, connect(), "legacy")
    except Exception as error:
        first = _first(error)
        modern = (mcp.types.UNSUPPORTED_PROTOCOL_VERSION, mcp.types.METHOD_NOT_FOUND)
        if not isinstance(first, mcp.errors.MCPError) or first.code not in modern:
            raise _no(mcp, first) from error
    try:
        return await _ask_by(mcp, connect(), "auto")
    except Exception as error:
        raise _no(mcp, _first(error)) from error


def _first(error: BaseException) -> BaseException:
    """The exception itself, out of the groups that task groups put around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _no(mcp: _Package, error: BaseException) -> Bad:
    if isinstance(error, Bad):
        return error
    if isinstance(error, mcp.errors.MCPError):
        if error.code == mcp.types.CONNECTION_CLOSED:
            return Bad("the connection was closed without an answer")
        return Bad(f"initialize was answered with an error: {error.message}")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and (cause.errno or isinstance(cause, ConnectionRefusedError)):
            return Bad(reason(cause))
        cause = cause.__cause__ or cause.__context__
    return Bad(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


async def _ask_by(mcp: _Package, transport: AbstractAsyncContextManager[Any], mode: str) -> Result:
    who = mcp.types.Implementation(name="gaia-probe", version="1")
    async with mcp.client.Client(transport, mode=mode, cache=None, client_info=who) as client:
        tools = await _count_tools(client)
        server, protocol = client.server_info, client.protocol_version
    name, version = (server.name, server.version) if server is not None else ("", "")
    called = " ".join(part for part in (name or "a server without a name", version) if part)
    told = f"{called}, protocol {protocol}, {tools} tool{'' if tools == 1 else 's'}"
    return good(told, name=short(name, 100), version=short(version, 50), protocol=protocol, tools=tools)


async def _count_tools(client: Any) -> int:
    if client.server_capabilities.tools is None:
        return 0
    count, cursor = 0, None
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        count, cursor = count + len(page.tools), page.next_cursor
        if not cursor:
            break
    return count


@asynccontextmanager
async def _streams(mcp: _Package, child: Child, heard: list[str]) -> AsyncIterator[Any]:
    """The client's two streams, of messages, on the child's pipes: a line is a message.

    Args:
        heard: gets the last line that was none. Some servers greet before they talk; clients read over that.
    """
    lines, typed = await child.lines(), await child.input()
    to_client, from_server = mcp.anyio.create_memory_object_stream(16)
    to_server, from_client = mcp.anyio.create_memory_object_stream(16)

    async def read() -> None:
        others = 0
        async with to_client:
            while others < _MOST_OTHERS and (line := await lines.readline()):
                if not line.strip():
                    continue
                try:
                    message = mcp.types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError:
                    heard[:] = [f"it wrote {short(line.decode('utf-8', errors='replace'), 100)!r}"]
                    others += 1
                    await asyncio.sleep(0)  # what is there already is read without a pause
                    continue
                await to_client.send(mcp.message.SessionMessage(message))

    async def write() -> None:
        async for message in from_client:
            typed.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")

    tasks = [asyncio.ensure_future(read()), asyncio.ensure_future(write())]
    try:
        yield from_server, to_server
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        typed.close()
        for stream in (to_client, from_server, to_server, from_client):
            stream.close()

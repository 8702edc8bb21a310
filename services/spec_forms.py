"""The short forms of a definition: what people write, made into what `services.spec` reads.

Nothing here knows whether the rest is right: what it does not understand stays as it is, for the reader to refuse.
A ValueError is a mistake, said in words.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from common.errors import GaiaError
from processes.limits import Limits
from services.mcp import default_probes
from services.states import ProbeKind, ProbePurpose, Restart, ServiceKind

_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*((?:[kmgt]i?)?b?)?", re.IGNORECASE)
_UNITS = {"b": 1 / (1 << 20), "k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0 * 1024.0}
_SHORT_LIMITS = {"memory": "memory_mb", "cpu": "cpu_percent", "run_time": "run_time_s", "quiet": "quiet_s"}


def limits(value: Any) -> dict[str, float | int]:
    """Limits as `processes.limits` has them; `memory`, `cpu`, `run_time` and `quiet` are short names."""
    if not isinstance(value, Mapping):
        raise ValueError('write limits as an object: {"memory": "512MB", "cpu": 50, "run_time": "1h"}')
    given = {_SHORT_LIMITS.get(str(name), str(name)): each for name, each in value.items()}
    if len(given) < len(value):
        raise ValueError("a limit is written twice")
    try:
        if isinstance(given.get("memory_mb"), str):
            given["memory_mb"] = _megabytes(given["memory_mb"])
        return Limits.parse(given).as_dict()
    except GaiaError as error:
        raise ValueError(f"{error.what}. {error.fix}".rstrip(". ")) from None


def _megabytes(text: str) -> int:
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is no amount of memory: write it like "512MB" or "2GB"')
    number = float(match[1]) * _UNITS[(match[2] or "m")[0].lower()]
    if number < 1:
        raise ValueError(f"{text!r} is less than a megabyte")
    return int(number)


def as_given(data: Any) -> dict[tuple[str | int, ...], tuple[str | int, ...]]:
    """Where people wrote what became the probes."""
    if not isinstance(data, Mapping) or not isinstance(data.get("health_check"), Mapping):
        return {}
    given = dict(data)
    try:
        auto_restart(given)
        health_check(given)
    except ValueError:  # that is the mistake, and names no place
        return {}
    probes = given["probes"]
    made = len(probes) - len(data.get("probes") or [])
    places: list[tuple[str | int, ...]] = [("health_check",)] * made
    places += [("probes", number) for number in range(len(probes) - made)]
    return {("probes", number): place for number, place in enumerate(places)}


def as_text(value: Any) -> Any:
    """Numbers and true or false as a program reads them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def words(value: Any) -> Any:
    """A command as words: a text is split as a shell splits it, and run without one."""
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{value!r} cannot be split into words: {error}. Write a list of words") from None


def join_command(given: dict[str, Any]) -> None:
    """`command` and `args` become one list of words."""
    args = given.pop("args", None)
    command = given.get("command")
    if args is None:
        given["command"] = words(command) if command is not None else []
        return
    if not isinstance(args, list):
        raise ValueError('"args" is a list of words: ["run", "main.go"]')
    if command is None or command == []:
        raise ValueError('"args" goes with a command')
    if not isinstance(command, str | list):
        raise ValueError('"command" is a text, or a list of words')
    given["command"] = [*([command] if isinstance(command, str) else command), *map(as_text, args)]


def auto_restart(given: dict[str, Any]) -> None:
    """`auto_restart` becomes `restart`."""
    if "auto_restart" not in given:
        return
    value = given.pop("auto_restart")
    if not isinstance(value, bool):
        raise ValueError('"auto_restart" is true or false')
    if "restart" in given:
        raise ValueError('write "auto_restart" or "restart", not both')
    given["restart"] = Restart.ALWAYS if value else Restart.NEVER


def health_check(given: dict[str, Any]) -> None:
    """One check that makes it ready, and, where it is restarted at all, has it restarted."""
    if "health_check" not in given:
        return
    value = given.pop("health_check")
    if not isinstance(value, Mapping):
        raise ValueError('"health_check" is an object: {"type": "http", "endpoint": "http://localhost:8080/health"}')
    if "purpose" in value:
        raise ValueError('a health_check has no purpose of its own: write it under "probes"')
    check = {"name": "health", **value}
    if not check.get("command"):
        check.pop("command", None)
    kind = check.get("type", check.get("kind"))
    probes = [{**check, "purpose": ProbePurpose.READINESS}]
    restarts = given.get("restart", Restart.ON_FAILURE) != Restart.NEVER
    if restarts and kind != ProbeKind.LOG:
        probes.append({**check, "name": f"{check['name']}-live", "purpose": ProbePurpose.LIVENESS})
    others = given.get("probes")
    if others is not None and not isinstance(others, list):
        raise ValueError('"probes" is a list: [{"type": "tcp", "purpose": "readiness"}]')
    given["probes"] = [*probes, *(others or [])]


def mcp_checks(given: dict[str, Any]) -> None:
    """An MCP server is asked as MCP has it, unless its definition says how it is to be asked so."""
    probes = given.get("probes", [])
    if given.get("kind") != ServiceKind.MCP or not isinstance(probes, list):
        return
    if any(isinstance(each, Mapping) and each.get("type", each.get("kind")) == ProbeKind.MCP for each in probes):
        return
    mcp = given.get("mcp")
    transport = mcp.get("transport", "http") if isinstance(mcp, Mapping) else "http"
    restarts = given.get("restart", Restart.ON_FAILURE) != Restart.NEVER
    given["probes"] = [*probes, *default_probes(str(transport), restarts=restarts)]


def dependencies(value: Any) -> Any:
    """`["db"]`, `[{"name": "db", …}]`, `{"db": "started"}` or `{"db": {"condition": …}}`."""
    if isinstance(value, Mapping):
        if not all(isinstance(each, str | Mapping) for each in value.values()):
            raise ValueError('"depends_on" by name says the condition of each: {"db": "healthy"}')
        pairs = [(name, {"condition": each} if isinstance(each, str) else each) for name, each in value.items()]
        return [{"name": name, **each} for name, each in pairs]
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise ValueError('"depends_on" is a list of names: ["db", "cache"]')
    return [{"name": each} if isinstance(each, str) else each for each in value]

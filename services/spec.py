"""The definition of a service as people write it, in JSON.

{"name": "api-server", "command": "go", "args": ["run", "./cmd/api"], "port": 8080,
 "health_check": {"type": "http", "endpoint": "http://localhost:8080/health",
                  "interval": "30s", "timeout": "5s", "retries": 3},
 "auto_restart": true}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from common.durations import parse_duration
from common.errors import GaiaError
from common.names import check_name
from common.patterns import compile_pattern
from services import spec_forms as forms
from services.endpoints import check_endpoint, check_mcp_url
from services.spec_errors import said
from services.states import Condition, ProbeKind, ProbePurpose, Restart, ServiceKind

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_PATTERN = 500
_OWN_VARIABLE = "GAIA_ATTEMPT_TOKEN"


def _seconds(value: Any) -> float:
    try:
        return parse_duration(value)
    except GaiaError as error:
        raise ValueError(f"{error.what}. {error.fix or 'Write it like 30s'}") from None


def _name(value: Any) -> str:
    try:
        return check_name(value)
    except GaiaError as error:
        raise ValueError(f"{error.what}. {error.meaning} {error.fix}") from None


def _pattern(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("write a regular expression as text")
    try:
        compile_pattern(value)
    except GaiaError as error:
        raise ValueError(f"{error.what}. {error.fix}".rstrip(". ")) from None
    return value


def _no_nul(value: Any) -> Any:
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a NUL character cannot be passed to a program")
    if isinstance(value, str) and not _is_text(value):
        raise ValueError("half a character cannot be stored")
    return value


def _is_text(value: str) -> bool:
    """JSON can write half of a character that UTF-16 has in two, which nothing else can."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


Seconds = Annotated[float, BeforeValidator(_seconds)]
Name = Annotated[str, BeforeValidator(_name)]
Pattern = Annotated[str, BeforeValidator(_no_nul), BeforeValidator(_pattern), Field(max_length=_LONGEST_PATTERN)]
Word = Annotated[str, BeforeValidator(_no_nul)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False, populate_by_name=True, frozen=True)


class Probe(_Strict):
    """One check of a running service.

    Args:
        kind: how it asks; `type` in JSON is the same.
        purpose: what follows from the answer.
        name: within the service; by default its purpose.
        endpoint: of http a URL, or a path on the service's own port; of tcp HOST:PORT, or nothing for its own port.
        command: of exec, run in the service's directory; exit code 0 is good.
        pattern: of log, a regular expression that a line of this start must match.
        status: of http, the codes that are good; by default 200 to 399.
        text: of http, what the body must contain.
        any_certificate: of https, accept one that nobody known here has signed, such as a local one.
        interval, timeout: seconds.
        retries: failures in a row after which it counts as bad.
        successes: answers in a row after which it counts as good.
        delay: seconds after the start before it is first asked.
    """

    kind: ProbeKind = Field(alias="type")
    purpose: ProbePurpose = ProbePurpose.READINESS
    name: Word = Field(default="", max_length=64)
    endpoint: Word = Field(default="", max_length=1000)
    command: list[Word] = []
    pattern: Pattern = ""
    status: list[Annotated[int, Field(ge=100, le=599)]] = []
    text: Word = Field(default="", max_length=1000)
    any_certificate: bool = False
    interval: Annotated[Seconds, Field(ge=0.05, le=86400)] = 30.0  # more often it would keep a core busy
    timeout: Annotated[Seconds, Field(gt=0, le=3600)] = 5.0
    retries: int = Field(default=3, ge=1, le=1000)
    successes: int = Field(default=1, ge=1, le=1000)
    delay: Annotated[Seconds, Field(le=86400)] = 0.0

    @field_validator("command", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return forms.words(value)

    @model_validator(mode="after")
    def _complete(self) -> Probe:
        if self.kind == ProbeKind.EXEC and not self.command:
            raise ValueError('an exec check needs a command: "command": ["pg_isready"]')
        if self.kind == ProbeKind.LOG and not self.pattern:
            raise ValueError('a log check needs a pattern: "pattern": "listening on"')
        check_endpoint(self.kind, self.endpoint)
        if self.kind == ProbeKind.LOG and self.purpose == ProbePurpose.LIVENESS:
            raise ValueError("a line of the log says that something began, not that it lives: use it as startup")
        return self

    @property
    def needs_port(self) -> bool:
        """Whether it asks at the service's own port."""
        own = self.endpoint.startswith("/") if self.kind == ProbeKind.HTTP else not self.endpoint
        return self.kind in (ProbeKind.HTTP, ProbeKind.TCP) and own


class DependsOn(_Strict):
    """What must be true of another service before this one starts."""

    name: Name
    condition: Condition = Condition.HEALTHY
    pattern: Pattern = ""

    @model_validator(mode="after")
    def _complete(self) -> DependsOn:
        if (self.condition == Condition.LOG_LINE) != bool(self.pattern):
            raise ValueError('"pattern" goes with "condition": "log_line", and only with it')
        return self


class Mcp(_Strict):
    """How an MCP server is reached.

    Args:
        transport: http (streamable HTTP), or stdio: each client starts its own.
        url: of its endpoint; by default /mcp on its port.
    """

    transport: Literal["stdio", "http"] = "http"
    url: Word = Field(default="", max_length=1000)


class ServiceSpec(_Strict):
    """What a service is. Field by field as in `docs/services.md`."""

    name: Name
    title: Word = Field(default="", max_length=200)
    kind: ServiceKind = ServiceKind.PROCESS
    command: list[Word] = Field(min_length=1)
    cwd: Path = Field(default_factory=Path.home)
    env: dict[str, Word] = {}
    secrets: dict[str, Word | None] = {}
    user: str = Field(default="", max_length=64, pattern=r"^([A-Za-z_][A-Za-z0-9_.-]*\$?)?$")
    port: int | None = Field(default=None, ge=1, le=65535)
    probes: list[Probe] = []
    limits: dict[str, float | int] = {}
    depends_on: list[DependsOn] = []
    restart: Restart = Restart.ON_FAILURE
    stop_grace: Annotated[Seconds, Field(le=3600)] = 10.0
    mcp: Mcp | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, data: Any) -> Any:
        """The short forms: command and args, health_check, auto_restart, names of dependencies."""
        if not isinstance(data, Mapping):
            raise ValueError('a service is written as an object: {"name": …, "command": …}')
        given = dict(data)
        forms.join_command(given)
        forms.auto_restart(given)
        forms.health_check(given)
        forms.mcp_checks(given)
        if "depends_on" in given:
            given["depends_on"] = forms.dependencies(given["depends_on"])
        return given

    @field_validator("env", "secrets", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError('write variables as an object: {"NAME": "value"}')
        for name in value:
            if not isinstance(name, str) or not _VARIABLE.fullmatch(name) or name == _OWN_VARIABLE:
                raise ValueError(f"{name!r} is not the name of a variable that may be set")
        return {name: forms.as_text(each) for name, each in value.items()}

    @field_validator("limits", mode="before")
    @classmethod
    def _limits(cls, value: Any) -> Any:
        return forms.limits(value)

    @field_validator("cwd", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        try:
            path = value.expanduser()
        except RuntimeError:
            raise ValueError(f"nobody's home is {value}") from None
        if not path.is_absolute():
            raise ValueError(f"{value} is not absolute: write the whole path, such as /srv/api")
        if "\0" in str(path) or not _is_text(str(path)):
            raise ValueError("a path has whole characters, and no NUL among them")
        return path

    @model_validator(mode="after")
    def _consistent(self) -> ServiceSpec:
        if not self.command[0]:
            raise ValueError("the command is empty")
        both = sorted(self.env.keys() & self.secrets.keys())
        if both:
            raise ValueError(f"{', '.join(both)}: either in env or in secrets, not in both")
        names = [each.name for each in self.depends_on]
        for name in names:
            if name == self.name:
                raise ValueError("it depends on itself")
            if names.count(name) > 1:
                raise ValueError(f"it depends on {name} twice: write one condition")
        for probe in self.probes:
            if probe.needs_port and self.port is None:
                raise ValueError('a check at its own port needs a port: "port": 8080')
            if probe.kind == ProbeKind.CANARY and self.kind != ServiceKind.PLATFORM:
                raise ValueError("a canary is of GAIA's own job queue: choose another check")
            if probe.kind == ProbeKind.MCP and self.kind != ServiceKind.MCP and not probe.endpoint:
                raise ValueError('an mcp check of what is no MCP server needs an endpoint, or "kind": "mcp"')
        if self.mcp is not None and self.kind != ServiceKind.MCP:
            raise ValueError('"mcp" goes with "kind": "mcp"')
        if self.kind == ServiceKind.MCP:
            self._check_reachable(self.mcp or Mcp())
        return self

    def _check_reachable(self, mcp: Mcp) -> None:
        if mcp.url:
            check_mcp_url(mcp.url)
        if mcp.transport == "http" and not mcp.url and self.port is None:
            raise ValueError('an MCP server over http needs a port, or its address: "mcp": {"url": "http://…/mcp"}')
        if mcp.transport == "stdio" and (mcp.url or self.port is not None):
            raise ValueError("an MCP server over stdio has no address and no port: each client starts its own")
        own = (ProbeKind.MCP, ProbePurpose.READINESS)
        if mcp.transport == "stdio" and any((probe.kind, probe.purpose) != own for probe in self.probes):
            raise ValueError("an MCP server over stdio runs only while a client talks to it: its check is mcp")

    @property
    def named_probes(self) -> list[Probe]:
        """Its probes, each with a name of its own."""
        taken: set[str] = set()
        named = []
        for probe in self.probes:
            base = probe.name or str(probe.purpose)
            name, number = base, 2
            while name in taken:
                name, number = f"{base}-{number}", number + 1
            taken.add(name)
            named.append(probe.model_copy(update={"name": name}))
        return named


def parse_spec(data: Any) -> ServiceSpec:
    """The definition, checked. Raises: InvalidInput that names each field and says what to write."""
    try:
        return ServiceSpec.model_validate(data)
    except ValidationError as error:
        name = data.get("name") if isinstance(data, Mapping) else None
        raise said(error, name, ServiceSpec, renamed=forms.as_given(data)) from None

"""What the API of services takes and answers, as OpenAPI describes it. Definitions are checked by `services.spec`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from processes.api import LogPartSerializer
from services.states import Condition, Desired, ProbeKind, ProbePurpose, Restart, ServiceKind, ServiceState

_Shape = serializers.Serializer[dict[str, Any]]


class ProbeAnswerSerializer(_Shape):
    name = serializers.CharField()
    purpose = serializers.ChoiceField(choices=ProbePurpose.choices)
    kind = serializers.ChoiceField(choices=ProbeKind.choices)
    ok = serializers.BooleanField(allow_null=True, help_text="null: not asked yet")
    coming_up = serializers.BooleanField(help_text="It never answered well since its start, and has time to yet")
    answer = serializers.CharField(allow_blank=True)
    took_ms = serializers.FloatField(allow_null=True)
    checked_at = serializers.DateTimeField(allow_null=True)


class LimitUseSerializer(_Shape):
    name = serializers.CharField()
    limit = serializers.FloatField(help_text="In the unit its name ends in, or a number")
    used = serializers.FloatField(allow_null=True)
    kept_by = serializers.CharField(help_text="What keeps it: cgroup, rlimit, …")
    warning = serializers.BooleanField(help_text="80 % of it are used")


class NeedSerializer(_Shape):
    name = serializers.CharField()
    condition = serializers.ChoiceField(choices=Condition.choices)
    pattern = serializers.CharField(allow_blank=True)
    met = serializers.BooleanField()


class ServiceSerializer(_Shape):
    id = serializers.IntegerField()
    name = serializers.CharField()
    title = serializers.CharField(allow_blank=True)
    kind = serializers.ChoiceField(choices=ServiceKind.choices)
    owner = serializers.CharField(help_text="Subject of its events")
    state = serializers.ChoiceField(choices=ServiceState.choices)
    since = serializers.DateTimeField()
    problem = serializers.CharField(allow_blank=True)
    desired = serializers.ChoiceField(choices=Desired.choices)
    outdated = serializers.BooleanField(help_text="It runs as it was defined before; a restart has it follow")
    pid = serializers.IntegerField(allow_null=True)
    port = serializers.IntegerField(allow_null=True)
    restarts = serializers.IntegerField(help_text="Starts nobody asked for")
    failures = serializers.IntegerField(help_text="Deaths in a row")
    next_start_at = serializers.DateTimeField(allow_null=True)
    last_death = serializers.DictField(allow_null=True, help_text="Cause, exit code, signal, last lines, memory")
    uptime_s = serializers.FloatField(allow_null=True)
    cpu = serializers.FloatField(allow_null=True, help_text="Percent of one core")
    memory = serializers.IntegerField(allow_null=True, help_text="Bytes")
    probes = ProbeAnswerSerializer(many=True)
    limits = LimitUseSerializer(many=True)
    depends_on = NeedSerializer(many=True)
    dependents = serializers.ListField(child=serializers.CharField())


class HealthCheckSerializer(_Shape):
    type = serializers.ChoiceField(choices=ProbeKind.choices)
    endpoint = serializers.CharField(required=False, help_text="http: a URL or a path; tcp: HOST:PORT")
    command = serializers.ListField(child=serializers.CharField(), required=False, help_text="exec: code 0 is good")
    pattern = serializers.CharField(required=False, help_text="log: regular expression of the line")
    status = serializers.ListField(child=serializers.IntegerField(), required=False, help_text="http: good codes")
    text = serializers.CharField(required=False, help_text="http: what the body must have")
    any_certificate = serializers.BooleanField(default=False, help_text="https: also one that nobody known here signed")
    interval = serializers.CharField(default="30s")
    timeout = serializers.CharField(default="5s")
    retries = serializers.IntegerField(default=3, help_text="Failures in a row until it counts as bad")
    successes = serializers.IntegerField(default=1)
    delay = serializers.CharField(default="0s")


class ProbeDefinitionSerializer(HealthCheckSerializer):
    name = serializers.CharField(required=False)
    purpose = serializers.ChoiceField(choices=ProbePurpose.choices, default=ProbePurpose.READINESS)


class McpDefinitionSerializer(_Shape):
    transport = serializers.ChoiceField(choices=["stdio", "http"], default="http")
    url = serializers.CharField(required=False)


class ServiceDefinitionSerializer(_Shape):
    name = serializers.CharField(help_text="Letters, digits, - and _")
    command = serializers.CharField(help_text="The program; or a list of words; run without a shell")
    args = serializers.ListField(child=serializers.CharField(), required=False)
    title = serializers.CharField(required=False, allow_blank=True)
    kind = serializers.ChoiceField(choices=ServiceKind.choices, default=ServiceKind.PROCESS, help_text="process or mcp")
    cwd = serializers.CharField(required=False, help_text="Absolute; default the home directory")
    env = serializers.DictField(child=serializers.CharField(), required=False)
    secrets = serializers.DictField(
        child=serializers.CharField(allow_null=True), required=False, help_text="Never shown again; null keeps one"
    )
    user = serializers.CharField(required=False, help_text="Account it runs as, where GAIA is root")
    port = serializers.IntegerField(required=False, allow_null=True)
    health_check = HealthCheckSerializer(required=False, help_text="One check: ready, and restarted when it fails")
    probes = ProbeDefinitionSerializer(many=True, required=False)
    limits = serializers.DictField(required=False, help_text='{"memory": "512MB", "cpu": 50, "run_time": "1h"}')
    depends_on = serializers.ListField(required=False, help_text='Names, or {"name", "condition", "pattern"}')
    auto_restart = serializers.BooleanField(required=False, help_text="Short for restart: always, or never")
    restart = serializers.ChoiceField(choices=Restart.choices, default=Restart.ON_FAILURE)
    stop_grace = serializers.CharField(default="10s", help_text="Between TERM and KILL")
    mcp = McpDefinitionSerializer(required=False)


class ServiceDetailSerializer(ServiceSerializer):
    definition = serializers.DictField(help_text="As it is written; values of secrets are null")


class StopServiceSerializer(_Shape):
    graceful = serializers.BooleanField(default=True, help_text="TERM first; false: KILL at once")


class ProbePeriodSerializer(_Shape):
    probe = serializers.CharField()
    purpose = serializers.ChoiceField(choices=ProbePurpose.choices)
    ok = serializers.BooleanField()
    coming_up = serializers.BooleanField(help_text="Before the first good answer of a start that had time to come up")
    answer = serializers.CharField(allow_blank=True)
    took_ms = serializers.FloatField()
    checks = serializers.IntegerField(help_text="How often it answered like this")
    since = serializers.DateTimeField()
    checked_at = serializers.DateTimeField(help_text="The last time")


class ServiceHealthSerializer(_Shape):
    state = serializers.ChoiceField(choices=ServiceState.choices)
    since = serializers.DateTimeField()
    problem = serializers.CharField(allow_blank=True)
    ready_at = serializers.DateTimeField(allow_null=True, help_text="Since when it is ready")
    probes = ProbeAnswerSerializer(many=True)
    history = ProbePeriodSerializer(many=True, help_text="Newest first; a new one begins when an answer turns")


class ServiceLogSerializer(LogPartSerializer):
    unfinished = serializers.CharField(
        allow_blank=True,
        help_text="What there is of a line whose end has not come; it is read again with the next piece",
    )


class ServiceMetricsSerializer(_Shape):
    span = serializers.ChoiceField(choices=["1h", "24h", "7d"])
    seconds = serializers.IntegerField(help_text="Length of the period a point stands for")
    points = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField()),
        help_text="Oldest first: [begin (seconds since 1970), CPU in percent of one core on average, at most, "
        "memory in bytes on average, at most]",
    )


class ServiceRegistrySerializer(_Shape):
    services = ServiceDefinitionSerializer(many=True)


class ServicesImportedSerializer(_Shape):
    registered = serializers.ListField(child=serializers.CharField())
    redefined = serializers.ListField(child=serializers.CharField())
    unchanged = serializers.ListField(child=serializers.CharField())
    missing_secrets = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()), help_text="By service those that have no value yet"
    )
    outdated = serializers.ListField(
        child=serializers.CharField(), help_text="They run as they were defined before, until they are restarted"
    )


_DOCUMENT: dict[str, Any] = {
    "name": "api-server",
    "command": "go",
    "args": ["run", "./cmd/api"],
    "port": 8080,
    "health_check": {
        "type": "http",
        "endpoint": "http://localhost:8080/health",
        "interval": "30s",
        "timeout": "5s",
        "retries": 3,
    },
    "auto_restart": True,
}
_WORKER: dict[str, Any] = {
    "name": "worker",
    "command": ["python3", "-m", "worker"],
    "cwd": "/srv/worker",
    "env": {"QUEUE": "default"},
    "secrets": {"API_KEY": "…"},
    "probes": [
        {"type": "log", "purpose": "startup", "pattern": "ready for jobs"},
        {"type": "exec", "purpose": "liveness", "command": ["python3", "-m", "worker", "--ping"], "interval": "10s"},
    ],
    "limits": {"memory": "512MB", "cpu": 50},
    "depends_on": ["api-server"],
    "stop_grace": "30s",
}
DEFINITION_EXAMPLES = [
    OpenApiExample("a web server", value=_DOCUMENT, request_only=True),
    OpenApiExample("a worker that depends on it", value=_WORKER, request_only=True),
]
CHANGE_EXAMPLES = [
    OpenApiExample("another port and less memory", value={"port": 8090, "limits": {"memory": "1GB"}}, request_only=True)
]

"""Long-running services, what they depend on, and how healthy they were."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from events.models import Stateful
from processes.models import Node
from processes.states import EnvironmentBase
from services.querysets import ProbePeriodQuerySet, ServiceQuerySet
from services.states import (
    SERVICE_TRANSITIONS,
    Condition,
    Desired,
    ProbePurpose,
    Restart,
    ServiceKind,
    ServiceState,
)


class Service(Stateful):
    """A process that should stay up: what it is, what people want of it, and how it is.

    Each start is a `processes.Process` under the service's owner key.
    """

    TRANSITIONS: ClassVar = SERVICE_TRANSITIONS

    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="services")
    name = models.CharField(max_length=100, unique=True, help_text="What people type: api-server")
    title = models.CharField(max_length=200, blank=True, help_text="In a sentence: stage qa of shop-dev1")
    kind = models.CharField(max_length=10, choices=ServiceKind.choices, default=ServiceKind.PROCESS)
    owner = models.CharField(max_length=200, help_text="Key of its processes, port and events: service/api-server")

    # what it is
    argv = models.JSONField(default=list, help_text="The command, run without a shell")
    cwd = models.CharField(max_length=1000)
    env = models.JSONField(default=dict, blank=True, help_text="Variables anybody may see")
    secrets = models.JSONField(default=dict, blank=True, help_text="Variables nobody is shown again")
    env_base = models.CharField(max_length=10, choices=EnvironmentBase.choices, default=EnvironmentBase.CLEAN)
    user = models.CharField(max_length=64, blank=True, help_text="Account it runs as, where GAIA is root")
    port = models.PositiveIntegerField(null=True, blank=True)
    probes = models.JSONField(default=list, blank=True, help_text="Checks, as services.spec.Probe writes them")
    limits = models.JSONField(default=dict, blank=True, help_text="As processes.limits.Limits writes them")
    restart = models.CharField(max_length=10, choices=Restart.choices, default=Restart.ON_FAILURE)
    stop_grace = models.FloatField(default=10.0, help_text="Seconds between TERM and KILL")
    log = models.CharField(max_length=1000, blank=True, help_text="Empty: a file under the home")
    lock = models.CharField(max_length=1000, blank=True, help_text="Empty: a file under the home")
    journal = models.CharField(max_length=1000, blank=True, help_text="Empty: the node's own")
    details = models.JSONField(default=dict, blank=True, help_text="What its kind needs besides: MCP transport and URL")
    revision = models.PositiveIntegerField(default=1, help_text="Counts changes of what it is")
    started_as = models.JSONField(
        default=dict, blank=True, help_text="What it was when the start that runs was asked for; empty: the same as now"
    )

    # what people want, and how it is
    desired = models.CharField(max_length=5, choices=Desired.choices, default=Desired.DOWN)
    state = models.CharField(max_length=12, choices=ServiceState.choices, default=ServiceState.STOPPED)
    state_since = models.DateTimeField(default=timezone.now)
    problem = models.TextField(blank=True, help_text="Why it is not as people want it")
    failures = models.PositiveIntegerField(default=0, help_text="Deaths in a row without a healthy time between")
    failed_at = models.JSONField(default=list, blank=True, help_text="Times of its last deaths, for the crash loop")
    last_death = models.JSONField(default=dict, blank=True, help_text="Cause, exit code, signal, last lines, memory")
    next_start_at = models.DateTimeField(null=True, blank=True, help_text="When it is tried again")
    ready_at = models.DateTimeField(null=True, blank=True, help_text="Since when it is ready; None: it is not")
    alarmed_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when people know that it does not stay up; None: all is well"
    )
    ever_ready = models.BooleanField(default=False, help_text="With this revision")
    restarts = models.PositiveIntegerField(default=0, help_text="Starts nobody asked for")
    created_at = models.DateTimeField(default=timezone.now)

    objects = ServiceQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["node", "owner"], name="one_service_per_owner")]

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """Subject of its events, the same as its processes'."""
        return self.owner

    @property
    def called(self) -> str:
        """What people call it in a sentence."""
        return self.title or f"service {self.name}"

    @property
    def sentence(self) -> str:
        """The same at the beginning of a sentence."""
        return self.called[:1].upper() + self.called[1:]

    @property
    def secret_values(self) -> list[str]:
        """What nobody is shown of whatever it says now; `former_secrets` has what its log may hold besides."""
        found = [*self.secrets.values(), *self.started_as.get("secrets", {}).values()]
        return [str(value) for value in found if value is not None]

    @property
    def outdated(self) -> bool:
        """Its definition was changed since the start that runs, which goes on as it was started."""
        return any(getattr(self, name) != value for name, value in self.started_as.items() if name != "revision")

    @property
    def probes_asked(self) -> list[dict[str, Any]]:
        """The checks of what runs, else those its next start will have."""
        found: list[dict[str, Any]] = self.started_as.get("probes", self.probes)
        return found

    def as_started(self) -> Service:
        """A copy that is what the start that runs was asked for as; to look at, never to be saved."""
        fields = {field.attname: getattr(self, field.attname) for field in self._meta.concrete_fields}
        return Service(**{**fields, **self.started_as})


class Dependency(models.Model):
    """A service starts only while something is true of another one."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="dependencies")
    on = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="dependents")
    condition = models.CharField(max_length=10, choices=Condition.choices, default=Condition.HEALTHY)
    pattern = models.CharField(max_length=500, blank=True, help_text="Regular expression of the line, for log_line")

    class Meta:
        ordering: ClassVar = ["id"]
        verbose_name_plural = "dependencies"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["service", "on"], name="one_dependency_per_pair"),
            models.CheckConstraint(condition=~Q(service=F("on")), name="nothing_depends_on_itself"),
        ]

    def __str__(self) -> str:
        return f"{self.service} on {self.on} ({self.condition})"


class ProbePeriod(models.Model):
    """What a probe said for a while: a new row begins when its answer turns from good to bad or back."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="probe_periods")
    probe = models.CharField(max_length=100, help_text="Its name within the service")
    purpose = models.CharField(max_length=10, choices=ProbePurpose.choices)
    ok = models.BooleanField()
    coming_up = models.BooleanField(default=False, help_text="Not well yet: a start has its time until it must be")
    answer = models.TextField(blank=True, help_text="The last one")
    took_ms = models.FloatField(default=0, help_text="The last one")
    facts = models.JSONField(default=dict, blank=True, help_text="What was learned besides: name and tools of a server")
    checks = models.PositiveIntegerField(default=1)
    since = models.DateTimeField(default=timezone.now)
    checked_at = models.DateTimeField(default=timezone.now)

    objects = ProbePeriodQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-since", "-id"]
        indexes: ClassVar = [models.Index(fields=["service", "probe", "-since"], name="periods_of_probe")]

    def __str__(self) -> str:
        return f"{self.service} {self.probe}: {'ok' if self.ok else 'bad'}"


class FormerSecret(models.Model):
    """A value that a secret had. Kept, as the secrets of services are, while a log may hold it: to mask it there."""

    owner = models.CharField(max_length=200, help_text="Key of the service that had it")
    value = models.TextField()
    log = models.CharField(max_length=1000, help_text="What its processes wrote to")
    attempt = models.PositiveIntegerField(help_text="The last start that may have had it")
    until = models.BigIntegerField(
        null=True, blank=True, help_text="Bytes the log held when nobody had it any more; empty: somebody may"
    )

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [models.Index(fields=["owner"], name="former_secrets_of_owner")]

    def __str__(self) -> str:
        return f"a former secret of {self.owner}"


class ServiceRequest(models.Model):
    """A request with an idempotency key: repeated, it does nothing. Kept for a day."""

    key = models.CharField(max_length=100, unique=True)
    actor = models.CharField(max_length=150)
    digest = models.CharField(max_length=64, help_text="Keyed digest of the request, which may hold secrets")
    done = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.key

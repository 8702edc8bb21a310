"""Nodes, port leases, the OS processes GAIA starts, and long operations."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from events.models import Stateful
from processes.querysets import OperationQuerySet, ProcessQuerySet
from processes.states import (
    OPERATION_ACTIVE,
    OPERATION_TRANSITIONS,
    PROCESS_ACTIVE,
    PROCESS_TRANSITIONS,
    EnvironmentBase,
    ExitSource,
    OperationState,
    Origin,
    ProcessState,
    StopCause,
)


class Node(models.Model):
    """A host that runs a daemon. The daemon's liveness is its lock file; the heartbeat is for other hosts."""

    name = models.CharField(max_length=100, unique=True)
    boot_id = models.CharField(max_length=64, blank=True)
    daemon_pid = models.PositiveIntegerField(null=True, blank=True)
    daemon_started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class PortLease(models.Model):
    """A TCP port that belongs to one owner on one node until it is given back."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="port_leases")
    port = models.PositiveIntegerField()
    owner = models.CharField(max_length=200, db_index=True)
    leased_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["port"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["node", "port"], name="one_lease_per_port"),
            models.UniqueConstraint(fields=["node", "owner"], name="one_lease_per_owner"),
        ]

    def __str__(self) -> str:
        return f"{self.port} {self.owner}"


class Process(Stateful):
    """One start of an OS process under the exit shim. A restart is a new row with the next attempt."""

    TRANSITIONS: ClassVar = PROCESS_TRANSITIONS

    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="processes")
    owner = models.CharField(max_length=200, help_text="Key of what it runs for, such as environment/dev1/qa")
    title = models.CharField(max_length=200, blank=True, help_text="What people call it: stage qa of demo-dev1")
    attempt = models.PositiveIntegerField(default=1)
    token = models.CharField(max_length=80, unique=True, help_text="Names this start in the exit journal")
    origin = models.CharField(max_length=10, choices=Origin.choices, default=Origin.GAIA)
    argv = models.JSONField(default=list)
    cwd = models.CharField(max_length=1000)
    env = models.JSONField(
        default=dict, blank=True, help_text="Variables added to the base; forgotten at the start, they may hold secrets"
    )
    env_base = models.CharField(max_length=10, choices=EnvironmentBase.choices, default=EnvironmentBase.CLEAN)
    log = models.CharField(max_length=1000)
    log_offset = models.BigIntegerField(default=0, help_text="Bytes its log held before: what comes after is its own")
    lock = models.CharField(max_length=1000)
    journal = models.CharField(max_length=1000)
    port = models.PositiveIntegerField(null=True, blank=True)
    stop_grace = models.FloatField(default=10.0, help_text="Seconds between TERM and KILL")
    user = models.CharField(max_length=64, blank=True, help_text="Account it runs as, where GAIA is root")
    limits = models.JSONField(default=dict, blank=True, help_text="As processes.limits.Limits writes them")
    enforcement = models.JSONField(default=dict, blank=True, help_text="By what each limit is kept: cgroup, rlimit, …")
    silent = models.BooleanField(
        default=False, help_text="A trial in a crash loop: whoever has it tried tells how it went"
    )
    cause = models.CharField(max_length=10, choices=StopCause.choices, blank=True, help_text="Why GAIA ended it")
    state = models.CharField(max_length=15, choices=ProcessState.choices, default=ProcessState.STARTING)
    pid = models.PositiveIntegerField(null=True, blank=True, help_text="The shim's pid, which is also its session's id")
    start_ticks = models.BigIntegerField(null=True, blank=True)
    boot_id = models.CharField(max_length=64, blank=True)
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    exit_source = models.CharField(max_length=10, choices=ExitSource.choices, blank=True)
    problem = models.TextField(blank=True, help_text="Why it did not start, or what happened to it")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = ProcessQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name_plural = "processes"
        indexes: ClassVar = [models.Index(fields=["owner", "-id"], name="process_owner")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["node", "owner"], condition=Q(state__in=PROCESS_ACTIVE), name="one_live_process_per_owner"
            ),
            models.UniqueConstraint(fields=["node", "owner", "attempt"], name="attempts_are_numbered_once"),
            models.CheckConstraint(
                condition=Q(state__in=PROCESS_ACTIVE) | Q(ended_at__isnull=False), name="ended_process_has_end"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.owner} #{self.attempt}"

    @property
    def called(self) -> str:
        """What people call it; the owner's key when nobody has said."""
        return self.title or self.owner

    @property
    def sentence(self) -> str:
        """How a sentence about it begins."""
        return self.title[:1].upper() + self.title[1:] if self.title else self.owner

    @property
    def key(self) -> str:
        """Subject of its events: what it runs for."""
        return self.owner

    @property
    def active(self) -> bool:
        return self.state in PROCESS_ACTIVE

    @property
    def untold(self) -> bool:
        """Events of its own do not tell of it, as nobody has asked for its end."""
        return self.silent and self.cause != StopCause.ASKED


class Sample(models.Model):
    """What the processes of one owner used during a period. Short periods are rolled up into longer ones."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="samples")
    owner = models.CharField(max_length=200)
    seconds = models.PositiveIntegerField(help_text="Length of the period")
    at = models.DateTimeField(help_text="Begin of the period")
    cpu = models.FloatField(help_text="Percent of one core, on average")
    cpu_most = models.FloatField(help_text="Percent of one core, the most of any look")
    memory = models.BigIntegerField(help_text="Bytes, on average")
    memory_most = models.BigIntegerField(help_text="Bytes, the most of any look")
    processes = models.PositiveIntegerField(help_text="The most of any look")
    looks = models.PositiveIntegerField(default=1, help_text="How many looks it is made of")

    class Meta:
        ordering: ClassVar = ["owner", "at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["node", "owner", "seconds", "at"], name="one_sample_per_period")
        ]
        indexes: ClassVar = [models.Index(fields=["seconds", "at"], name="samples_by_age")]

    def __str__(self) -> str:
        return f"{self.owner} {self.at:%H:%M:%S}+{self.seconds}s"


class Operation(Stateful):
    """A long piece of work with progress, a log and a way to cancel it; runs as `manage.py operate ID`."""

    TRANSITIONS: ClassVar = OPERATION_TRANSITIONS

    kind = models.CharField(max_length=80)
    title = models.CharField(max_length=200)
    subject = models.CharField(max_length=200, help_text="Key of what it works on; one at a time per subject")
    params = models.JSONField(default=dict)
    actor = models.CharField(max_length=150)
    idempotency_key = models.CharField(max_length=100, null=True, blank=True, unique=True)
    state = models.CharField(max_length=15, choices=OperationState.choices, default=OperationState.QUEUED)
    done = models.FloatField(default=0)
    total = models.FloatField(default=0)
    message = models.CharField(max_length=500, blank=True)
    result = models.JSONField(default=dict, blank=True)
    error = models.JSONField(null=True, blank=True)
    log = models.CharField(max_length=1000, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = OperationQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subject"], condition=Q(state__in=OPERATION_ACTIVE), name="one_live_operation_per_subject"
            )
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.state})"

    @property
    def key(self) -> str:
        """Subject of its events."""
        return f"operation/{self.pk}"

    @property
    def owner(self) -> str:
        """Key under which its process runs."""
        return self.key

    @property
    def active(self) -> bool:
        return self.state in OPERATION_ACTIVE

    @property
    def fraction(self) -> float:
        """How far it is, 0 to 1."""
        if self.state == OperationState.SUCCEEDED:
            return 1.0
        return min(1.0, self.done / self.total) if self.total else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The operation as every door shows it."""
        return {
            "id": self.pk,
            "kind": self.kind,
            "title": self.title,
            "subject": self.subject,
            "state": self.state,
            "fraction": round(self.fraction, 4),
            "message": self.message,
            "result": self.result,
            "error": self.error,
            "actor": self.actor,
            "created_at": self.created_at.isoformat(),
            "started_at": self.started_at and self.started_at.isoformat(),
            "ended_at": self.ended_at and self.ended_at.isoformat(),
        }

"""Isolated checkouts and their stages."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from environments.states import (
    BACKUP_TRANSITIONS,
    ENVIRONMENT_ACTIVE,
    ENVIRONMENT_TRANSITIONS,
    LOCAL,
    BackupState,
    Engine,
    EnvironmentState,
    McpSet,
    Verdict,
)
from events.models import Stateful
from projects.models import Project


class Layer(models.Model):
    """What environments stand on: local, integration, staging, production, or one of your own."""

    name = models.SlugField(max_length=40, unique=True, help_text="What people type: integration")
    purpose = models.CharField(max_length=300, blank=True)
    position = models.PositiveIntegerField(default=100, help_text="Where it stands in the list")
    engine = models.CharField(max_length=12, choices=Engine.choices, default=Engine.SQLITE)
    first_port = models.PositiveIntegerField(null=True, blank=True, help_text="None: stages have their project's ports")
    last_port = models.PositiveIntegerField(null=True, blank=True)
    mcp = models.CharField(max_length=6, choices=McpSet.choices, default=McpSet.OFF)
    mcp_servers = models.JSONField(default=list, blank=True, help_text="Names of the basic ones")
    services = models.JSONField(default=list, blank=True, help_text="Names of services that should run for it")
    needs = models.JSONField(default=list, blank=True, help_text="redis, vector, backups, monitoring")
    variables = models.JSONField(default=dict, blank=True, help_text="What else its stages find in their environment")
    postgresql_url = models.CharField(max_length=500, blank=True, help_text="Its own server; nobody is shown it again")
    production = models.BooleanField(default=False, help_text="Its data is kept from every other layer")

    class Meta:
        ordering: ClassVar = ["position", "name"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(first_port=None, last_port=None) | Q(first_port__lte=F("last_port")),
                name="ports_of_a_layer_are_a_range",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """Subject of its events."""
        return f"layer/{self.name}"

    @property
    def ports(self) -> range | None:
        """The ports of its stages; None when they have their project's."""
        if self.first_port is None or self.last_port is None:
            return None
        return range(self.first_port, self.last_port + 1)


class Environment(Stateful):
    """One isolated checkout of a project, such as `architect-dev1`, on its branch `env/dev1`."""

    TRANSITIONS: ClassVar = ENVIRONMENT_TRANSITIONS

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="environments")
    name = models.CharField(max_length=64, help_text="Name within the project: dev1")
    number = models.PositiveIntegerField(help_text="1 to count; decides ports")
    path = models.CharField(max_length=1000)
    branch = models.CharField(max_length=200, help_text="Branch made for it: env/dev1")
    state = models.CharField(max_length=10, choices=EnvironmentState.choices, default=EnvironmentState.CREATING)
    problem = models.TextField(blank=True, help_text="What is wrong with it")
    created_at = models.DateTimeField(default=timezone.now)
    removed_at = models.DateTimeField(null=True, blank=True)
    layer = models.ForeignKey(
        Layer, on_delete=models.PROTECT, to_field="name", default=LOCAL, related_name="environments"
    )
    salvage = models.JSONField(null=True, blank=True, help_text="Where its work was brought before its removal")

    class Meta:
        ordering: ClassVar = ["project__name", "number"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(state__in=ENVIRONMENT_ACTIVE),
                name="one_live_environment_per_name",
            ),
            models.UniqueConstraint(
                fields=["path"], condition=Q(state__in=ENVIRONMENT_ACTIVE), name="one_live_environment_per_path"
            ),
        ]

    def __str__(self) -> str:
        return self.directory

    @property
    def directory(self) -> str:
        """Name of the checkout's directory: `architect-dev1`."""
        return Path(self.path).name

    @property
    def key(self) -> str:
        """Subject of its events and prefix of its owner keys."""
        return f"environment/{self.directory}"

    @property
    def layer_name(self) -> str:
        """Name of its layer, without asking for the row."""
        return str(self.layer_id)


class GitState(models.Model):
    """What git last said about an environment's checkout, and when."""

    environment = models.OneToOneField(Environment, on_delete=models.CASCADE, related_name="git")
    branch = models.CharField(max_length=250, blank=True)
    head = models.CharField(max_length=64, blank=True)
    ahead = models.IntegerField(default=0)
    behind = models.IntegerField(default=0)
    staged = models.IntegerField(default=0)
    unstaged = models.IntegerField(default=0)
    untracked = models.IntegerField(default=0)
    conflicts = models.IntegerField(default=0)
    detached = models.BooleanField(default=False)
    in_progress = models.CharField(max_length=20, blank=True)
    error = models.TextField(blank=True)
    checked_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.branch} of {self.environment}"

    @property
    def dirty(self) -> int:
        """How many files differ from the last commit."""
        return self.staged + self.unstaged + self.untracked + self.conflicts


class Stage(models.Model):
    """One of an environment's sub-environments: dev, qa or staging, each with a port and a database."""

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="stages")
    name = models.CharField(max_length=20)
    port = models.PositiveIntegerField()
    database = models.CharField(max_length=1000, help_text="Path of its database, relative to the checkout")
    servers = models.JSONField(
        default=dict, blank=True, help_text="Names of its databases on the PostgreSQL servers of layers, by layer"
    )
    https = models.BooleanField(default=False, help_text="Serves HTTPS with a certificate of the local authority")

    class Meta:
        ordering: ClassVar = ["environment", "port"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["environment", "name"], name="one_stage_per_name")]

    def __str__(self) -> str:
        return f"{self.environment.directory} {self.name}"

    @property
    def called(self) -> str:
        """What people call it in a sentence."""
        return f"stage {self.name} of {self.environment.directory}"

    @property
    def owner(self) -> str:
        """Key under which its process runs and its port is leased."""
        return f"{self.environment.key}/{self.name}"

    @property
    def url(self) -> str:
        """Where it answers, the same at every door.

        Under `localhost`, because browsers send a host's cookies to all of its ports, and the console is at 127.0.0.1.
        """
        return f"{'https' if self.https else 'http'}://localhost:{self.port}"


class Health(models.Model):
    """How an environment was for a while: a new row begins when the verdict or its reasons change."""

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="health")
    verdict = models.CharField(max_length=10, choices=Verdict.choices)
    findings = models.JSONField(
        default=list, help_text="What is not as it should be: check, verdict, what, meaning, fix"
    )
    since = models.DateTimeField(default=timezone.now, help_text="When it was first seen like this")
    checked_at = models.DateTimeField(default=timezone.now, help_text="When it was last seen like this")

    class Meta:
        verbose_name_plural = "health"
        ordering: ClassVar = ["-since", "-id"]
        indexes: ClassVar = [models.Index(fields=["environment", "-since"], name="health_of_environment")]

    def __str__(self) -> str:
        return f"{self.environment}: {self.get_verdict_display()}"


class Backup(Stateful):
    """A copy of one database, verified by restoring it: of a stage, or GAIA's own."""

    TRANSITIONS: ClassVar = BACKUP_TRANSITIONS

    stage = models.ForeignKey(
        Stage, null=True, blank=True, on_delete=models.PROTECT, related_name="backups", help_text="None: GAIA's own"
    )
    name = models.CharField(max_length=200, unique=True, help_text="shop-dev1-qa-20250131T120000Z")
    reason = models.CharField(max_length=100, help_text="schedule, on demand, before restoring …")
    state = models.CharField(max_length=10, choices=BackupState.choices, default=BackupState.TAKING)
    path = models.CharField(max_length=1000)
    size = models.BigIntegerField(default=0, help_text="Bytes")
    sha256 = models.CharField(max_length=64, blank=True)
    problem = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    verified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [models.Index(fields=["stage", "-created_at"], name="backups_of_stage")]

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """Subject of its events."""
        return f"backup/{self.name}"

"""Isolated checkouts and their stages."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from environments.states import ENVIRONMENT_ACTIVE, ENVIRONMENT_TRANSITIONS, EnvironmentState
from events.models import Stateful
from projects.models import Project


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


class GitSnapshot(models.Model):
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
        return f"http://127.0.0.1:{self.port}"

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from django.db import models
from django.utils import timezone

from common.home import gaia_home


class Project(models.Model):
    """A repository we work on. Its hub is the bare repository that environments push to."""

    name = models.CharField(max_length=64, unique=True)
    source = models.CharField(max_length=1000, help_text="Path or URL the project came from, without credentials")
    default_branch = models.CharField(max_length=200, default="main")
    base_port = models.PositiveIntegerField(default=8081, help_text="Port of the first environment's dev stage")
    root = models.CharField(max_length=1000, help_text="Directory its checkouts lie in")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def hub(self) -> Path:
        """The bare repository that is `origin` of every environment."""
        return gaia_home().hubs / f"{self.name}.git"

"""Who may reach GAIA: people and their tokens."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from knox.models import AbstractAuthToken


class Scope(models.TextChoices):
    """What a token may do. `operate` includes `read`."""

    READ = "read", "Read"
    OPERATE = "operate", "Operate"


class User(AbstractUser):  # type: ignore[django-manager-missing]  # auth_token_set: knox is untyped
    """A person who signs in to the console."""


def default_scopes() -> list[str]:
    return [Scope.READ, Scope.OPERATE]


class Token(AbstractAuthToken):
    """A program's key to the API, stored as a digest, with a name, scopes and an end."""

    name = models.CharField(max_length=100, blank=True)
    scopes = models.JSONField(default=default_scopes)

    class Meta:
        ordering: ClassVar = ["-created"]

    def __str__(self) -> str:
        return self.name or self.token_key

    def allows(self, scope: str) -> bool:
        """Whether the token carries the scope, `operate` implying `read`."""
        return scope in self.scopes or (scope == Scope.READ and Scope.OPERATE in self.scopes)

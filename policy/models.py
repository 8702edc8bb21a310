"""Who may reach GAIA: people and their tokens; and whether anybody may do anything at all just now."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.utils import timezone
from knox.models import AbstractAuthToken

from events.models import Stateful
from policy.states import PANIC_TRANSITIONS, PanicState


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


class Panic(Stateful):
    """One use of the emergency brake, from `gaia panic` until it was lifted; `policy.panic` does both."""

    TRANSITIONS: ClassVar = PANIC_TRANSITIONS

    state = models.CharField(max_length=10, choices=PanicState.choices, default=PanicState.DECLARED)
    reason = models.CharField(max_length=500, blank=True)
    declared_by = models.CharField(max_length=150, help_text="Actor")
    declared_at = models.DateTimeField(default=timezone.now)
    lifted_by = models.CharField(max_length=150, blank=True, help_text="Actor")
    lifted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["state"], condition=Q(state=PanicState.DECLARED), name="one_panic_at_a_time"
            ),
            models.CheckConstraint(
                condition=Q(state=PanicState.DECLARED) | Q(lifted_at__isnull=False), name="lifted_panic_has_end"
            ),
        ]

    def __str__(self) -> str:
        return self.reason or f"Panic of {self.declared_by}"

    @property
    def key(self) -> str:
        """Subject of its events."""
        return "panic"

"""tmux sessions: those that GAIA started, and those of others that it sees or has adopted."""

from __future__ import annotations

import os
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from events.models import Stateful
from sessions.querysets import SessionQuerySet
from sessions.states import SESSION_ACTIVE, SESSION_TRANSITIONS, Origin, Runs, SendOutcome, SessionState


class Session(Stateful):
    """One life of a tmux session: when it ends and is started again, that is a new row.

    Of a session that GAIA did not start, a row is what GAIA sees of it. Which one it is: the socket, the server's pid
    and start time, the session's and the pane's ids in it, and the pane's process.
    """

    TRANSITIONS: ClassVar = SESSION_TRANSITIONS

    gaia_id = models.CharField(max_length=32, db_index=True, help_text="Value of the pane option @gaia_id")
    name = models.CharField(max_length=64)
    origin = models.CharField(max_length=10, choices=Origin.choices, default=Origin.GAIA)
    group = models.CharField(max_length=40, help_text="Key of its group in the fleet")
    provider = models.CharField(max_length=40)
    role = models.CharField(max_length=60, blank=True)
    protected = models.BooleanField(default=False, help_text="Never given tasks")
    environment = models.ForeignKey(
        "environments.Environment", null=True, blank=True, on_delete=models.SET_NULL, related_name="sessions"
    )
    cwd = models.CharField(max_length=1000)
    argv = models.JSONField(default=list)
    runs = models.CharField(max_length=10, choices=Runs.choices, default=Runs.SHELL)
    reason = models.CharField(max_length=300, blank=True, help_text="Why something else runs than its agent")
    state = models.CharField(max_length=10, choices=SessionState.choices, default=SessionState.STARTING)
    socket = models.CharField(max_length=200, blank=True, help_text="Of its tmux server, when that is not GAIA's own")
    tmux_name = models.CharField(max_length=200, blank=True, help_text="Its name in tmux, if somebody renamed it there")
    tmux_session = models.CharField(max_length=20, blank=True)
    tmux_pane = models.CharField(max_length=20, blank=True)
    tmux_server_pid = models.PositiveIntegerField(null=True, blank=True)
    tmux_server_started = models.BigIntegerField(
        null=True, blank=True, help_text="When that server began, in seconds since the epoch; of servers not GAIA's"
    )
    panes = models.PositiveIntegerField(default=1, help_text="How many its tmux session has; this is one of them")
    pane_pid = models.PositiveIntegerField(null=True, blank=True)
    pane_start_ticks = models.BigIntegerField(
        null=True, blank=True, help_text="When that process was started: a pid alone may be another's by now"
    )
    boot_id = models.CharField(max_length=64, blank=True, help_text="Boot of the machine in which both mean something")
    command = models.CharField(max_length=100, blank=True, help_text="What has the pane's foreground now")
    title = models.CharField(max_length=300, blank=True)
    exit_status = models.IntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    active_at = models.DateTimeField(null=True, blank=True, help_text="Last output of its window")
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    problem = models.TextField(blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            # others may call theirs as they like
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(state__in=SESSION_ACTIVE) & ~Q(origin=Origin.FOREIGN),
                name="one_live_session_per_name",
            ),
            # two that look at the same time see it once
            models.UniqueConstraint(
                fields=["socket", "tmux_server_pid", "tmux_server_started", "tmux_session"],
                condition=Q(state__in=SESSION_ACTIVE) & ~Q(origin=Origin.GAIA),
                name="one_live_row_per_session_of_others",
            ),
            models.CheckConstraint(
                condition=Q(origin=Origin.GAIA, socket="") | (~Q(origin=Origin.GAIA) & ~Q(socket="")),
                name="session_of_others_has_socket",
            ),
            # a pane that outlived its row is found again as a new life
            models.UniqueConstraint(
                fields=["gaia_id"], condition=Q(state__in=SESSION_ACTIVE), name="one_live_session_per_pane"
            ),
            models.CheckConstraint(
                condition=Q(state__in=SESSION_ACTIVE) | Q(ended_at__isnull=False), name="ended_session_has_end"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """Subject of its events; what GAIA only looks at does not mix with its own of the same name."""
        where = f"@{os.path.basename(self.socket)}" if self.origin == Origin.FOREIGN else ""
        return f"session/{self.name}{where}"

    @property
    def live(self) -> bool:
        return self.state in SESSION_ACTIVE

    @property
    def foreign(self) -> bool:
        """Whether GAIA may only look at it."""
        return self.origin == Origin.FOREIGN


class Send(models.Model):
    """A request with an idempotency key to type into a session: repeated, it types nothing. Kept for a day."""

    key = models.CharField(max_length=100, unique=True)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="sends")
    actor = models.CharField(max_length=150)
    digest = models.CharField(max_length=64, help_text="Keyed digest of what was typed, which may be a password")
    outcome = models.CharField(max_length=10, choices=SendOutcome.choices, default=SendOutcome.SENDING)
    problem = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.key} to {self.session}"

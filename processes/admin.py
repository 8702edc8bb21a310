"""Operations with their progress, and what runs underneath: nodes, processes, ports."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from unfold.decorators import display

from common.looks import look_of
from events.console.admin import ConsoleAdmin
from events.console.filters import NeedsFilter, StateFilter, ValuesFilter
from events.console.verbs import done
from events.models import Event
from processes.actions.logs import read_end, shown
from processes.actions.nodes import node_name
from processes.actions.operations import request_cancel
from processes.actions.ports import uses
from processes.actions.traces import trace
from processes.limits import WORDS, figure
from processes.models import Node, Operation, PortLease, Process
from processes.states import PROCESS_ACTIVE, OperationState, Origin, ProcessState, StopCause

_EVENTS = 20
_LOG_LINES = 400
STAGE_OWNERS = "environment/"  # their ports can be moved, on a page of the room above
_SILENT_S = 20.0  # a daemon that has not written its heartbeat for so long is down


def shown_operation(state: str) -> str:
    """The name of an operation's state in `common.looks`: one that runs is working."""
    return "working" if state == OperationState.RUNNING else state


def shown_process(process: Process) -> str:
    """The name of a process's state in `common.looks`: one that ended as it was told has stopped."""
    asked = process.stop_requested_at is not None and process.cause in ("", StopCause.ASKED)
    ended_well = asked or (process.exit_code == 0 and process.stop_requested_at is None)
    return "stopped" if process.state == ProcessState.EXITED and ended_well else process.state


def time_left(operation: Operation) -> timedelta | None:
    """How long it still takes if it goes on as fast; None while that cannot be said."""
    if not operation.active or operation.started_at is None or operation.fraction < 0.02:
        return None
    taken = timezone.now() - operation.started_at
    return taken * (1 - operation.fraction) / operation.fraction


class OperationStateFilter(StateFilter):
    now_title = "all"
    choices_of_state = tuple((state.value, look_of(shown_operation(state)).word) for state in OperationState)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.choices_of_state)


class UnresolvedFilter(NeedsFilter):
    def of_those(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(pk__in=Operation.objects.unresolved().values("pk"))


class KindFilter(ValuesFilter):
    title = parameter_name = "kind"


@admin.register(Operation)
class OperationAdmin(ConsoleAdmin):
    """Long pieces of work."""

    plural = "Operations"
    list_display = ("state", "title", "progress", "message", "actor", "created_at", "took")
    minor = ("message", "actor", "took")
    extra = ("progress",)
    numbers = ("created_at", "took")
    list_filter = (OperationStateFilter, UnresolvedFilter, KindFilter)
    search_fields = ("title", "subject", "kind", "actor")
    search_help_text = "Title, subject, kind, who asked"
    ordering = ("-id",)
    detail_template = "gaia/processes/operation.html"
    live_on = "operation."
    live_every = 2
    empty = {
        "icon": "pending_actions",
        "title": "No operation yet",
        "text": "Long work, such as setting up environments, is an operation: it shows how far it is, can be left and "
        "found again, and can be cancelled.",
        "url": "admin:environments_environment_setup",
        "first": "Set up environments…",
    }

    @display(description="Progress")
    def progress(self, operation: Operation) -> str:
        return ""

    @display(description="Took")
    def took(self, operation: Operation) -> str:
        return ""

    def prepare_rows(self, rows: list[Any]) -> None:
        for operation in rows:
            operation.shown = shown_operation(operation.state)

    def get_urls(self) -> list[URLPattern]:
        return [self.verb("<int:pk>/cancel/", self.cancel_view, name="cancel"), *super().get_urls()]

    def detail(self, request: HttpRequest, row: Operation) -> dict[str, Any]:
        return {
            "title": row.title,
            "operation": row,
            "shown": shown_operation(row.state),
            "left": time_left(row),
            "every": 1 if row.active else 0,
            "events": lambda: Event.objects.filter(subject=row.owner)[:_EVENTS],
        }

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask it to stop at its next safe point."""
        operation = self.find(request, pk)
        asked = request_cancel(operation)
        told = (
            "ends at its next safe point; what was finished before stays" if asked else f"is already {operation.state}"
        )
        back = reverse("admin:processes_operation_change", args=[pk])
        return done(request, f"{operation.title} {told}.", back=back)


@admin.register(Node)
class NodeAdmin(ConsoleAdmin):
    """Hosts that run a daemon."""

    plural = "Nodes"
    list_display = ("state", "name", "daemon_pid", "daemon_started_at", "heartbeat_at", "running", "ports")
    numbers = ("daemon_pid", "daemon_started_at", "heartbeat_at", "running", "ports")
    minor = ("daemon_pid", "daemon_started_at", "ports")
    search_fields = ("name",)
    search_help_text = "Name"
    detail_template = "gaia/processes/node.html"
    live_on = "node. process."
    live_every = 5
    empty = {
        "icon": "dns",
        "title": "No node yet",
        "text": "A node is a host that runs GAIA's daemon: gaia up starts it.",
    }

    @display(description="State")
    def state(self, node: Node) -> str:
        return ""

    @display(description="Processes", ordering="running_processes")
    def running(self, node: Node) -> str:
        return ""

    @display(description="Ports", ordering="leased_ports")
    def ports(self, node: Node) -> str:
        return ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        rows: QuerySet[Node] = (
            super()
            .get_queryset(request)
            .annotate(
                running_processes=Count("processes", filter=Q(processes__state__in=PROCESS_ACTIVE), distinct=True),
                leased_ports=Count("port_leases", distinct=True),
            )
        )
        return rows

    def prepare_rows(self, rows: list[Any]) -> None:
        for node in rows:
            node.shown = shown_node(node)

    def detail(self, request: HttpRequest, row: Node) -> dict[str, Any]:
        return {
            "node": row,
            "shown": shown_node(row),
            "processes": lambda: _shown(list(row.processes.filter(state__in=PROCESS_ACTIVE).order_by("owner"))),
            "events": lambda: Event.objects.filter(subject=f"node/{row.name}")[:_EVENTS],
        }


def shown_node(node: Node) -> str:
    """`up` while its daemon writes its heartbeat."""
    beat = node.heartbeat_at
    fresh = beat is not None and (timezone.now() - beat).total_seconds() < _SILENT_S
    return "up" if node.daemon_pid and fresh else "down"


def _shown(processes: list[Any]) -> list[Any]:
    for process in processes:
        process.shown = shown_process(process)
    return processes


class ProcessStateFilter(StateFilter):
    now_title = "live"
    choices_of_state = tuple((state.value, look_of(state).word) for state in ProcessState)

    def of_now(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state__in=PROCESS_ACTIVE)


class OriginFilter(ValuesFilter):
    title = parameter_name = "origin"

    def titles(self) -> dict[str, str]:
        return {origin.value: str(origin.label) for origin in Origin}


@admin.register(Process)
class ProcessAdmin(ConsoleAdmin):
    """Starts of OS processes."""

    plural = "Processes"
    list_display = ("state", "owner", "attempt", "pid", "port", "origin", "started_at", "ended_at", "exit_code")
    numbers = ("attempt", "pid", "port", "started_at", "ended_at", "exit_code")
    minor = ("attempt", "port", "origin", "ended_at", "exit_code")
    list_filter = (ProcessStateFilter, OriginFilter)
    search_fields = ("owner", "pid", "port", "cwd")
    search_help_text = "Owner, pid, port, directory"
    ordering = ("-id",)
    detail_template = "gaia/processes/process.html"
    live_on = "process."
    live_every = 5
    empty = {
        "icon": "memory",
        "title": "Nothing runs",
        "text": "What GAIA starts is listed here: its own parts, stages, operations.",
    }

    def prepare_rows(self, rows: list[Any]) -> None:
        _shown(rows)

    def get_urls(self) -> list[URLPattern]:
        return [self.verb("<int:pk>/log/", self.log_view, name="log", post_only=False), *super().get_urls()]

    def detail(self, request: HttpRequest, row: Process) -> dict[str, Any]:
        return {
            "process": row,
            "shown": shown_process(row),
            "env_names": sorted(row.env),  # names only: values may be secrets
            "limits": [
                {"name": WORDS[name], "most": figure(name, most), "kept_by": row.enforcement.get(name, "")}
                for name, most in row.limits.items()
                if name in WORDS
            ],
            "starts": lambda: _shown(list(Process.objects.filter(owner=row.owner).order_by("-id")[:10])),
        }

    def log_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The last lines it wrote, as `{"text": …}`."""
        process = self.find(request, pk)
        return JsonResponse({"text": shown(process.owner, read_end(trace(process, process.log), _LOG_LINES))})


@admin.register(PortLease)
class PortLeaseAdmin(ConsoleAdmin):
    """Ports that are handed out."""

    plural = "Ports"
    noun, nouns = "port", "ports"
    list_display = ("state", "port", "owner", "held_by", "node", "leased_at", "move")
    numbers = ("port", "leased_at", "move")
    minor = ("held_by", "node", "leased_at")
    list_filter = ("node",)
    list_select_related = ("node",)
    search_fields = ("port", "owner")
    search_help_text = "Port or owner"
    ordering = ("port",)
    live_on = "ports. process."
    live_every = 5
    empty = {
        "icon": "settings_ethernet",
        "title": "No port is handed out",
        "text": "Each stage of an environment gets a port of its own, which stays its own while it is stopped.",
    }

    @display(description="State")
    def state(self, lease: PortLease) -> str:
        return ""

    @display(description="Who listens")
    def held_by(self, lease: PortLease) -> str:
        return ""

    @display(description="")
    def move(self, lease: PortLease) -> str:
        return ""

    def prepare_rows(self, rows: list[Any]) -> None:
        """Who listens, on this node: of another's ports this machine knows nothing."""
        here = {use.lease.pk: use for use in uses([row for row in rows if row.node.name == node_name()])}
        for lease in rows:
            lease.use = here.get(lease.pk)
            lease.of_stage = lease.owner.startswith(STAGE_OWNERS) and lease.use is not None

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A lease has no more to tell than its row."""
        return redirect("admin:processes_portlease_changelist")

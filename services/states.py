"""States, kinds and conditions of services, as data."""

from __future__ import annotations

from django.db.models import TextChoices


class ServiceState(TextChoices):
    STOPPED = "stopped", "Stopped"
    HELD = "held", "Waits for what it depends on"
    STARTING = "starting", "Starting"
    RUNNING = "running", "Running"
    UNREADY = "unready", "Running, not ready"
    STOPPING = "stopping", "Stopping"
    BACKOFF = "backoff", "Waits before its next start"
    CRASH_LOOP = "crash_loop", "Crash loop"
    FAILED = "failed", "Failed"
    COMPLETED = "completed", "Completed"


SERVICE_UP = (ServiceState.STARTING, ServiceState.RUNNING, ServiceState.UNREADY, ServiceState.STOPPING)
"""A process of it is asked for or runs."""
SERVICE_DOWN = (
    ServiceState.STOPPED,
    ServiceState.HELD,
    ServiceState.BACKOFF,
    ServiceState.CRASH_LOOP,
    ServiceState.FAILED,
    ServiceState.COMPLETED,
)
SERVICE_NEEDS_SOMEBODY = (ServiceState.CRASH_LOOP, ServiceState.FAILED)
"""It does not come up by itself, or not for long."""
_ENDINGS = (
    ServiceState.STOPPED,
    ServiceState.HELD,
    ServiceState.BACKOFF,
    ServiceState.CRASH_LOOP,
    ServiceState.FAILED,
    ServiceState.COMPLETED,
)
_BEGINNINGS = (ServiceState.STARTING, ServiceState.HELD, ServiceState.STOPPED)
# No state is terminal: a service may always be started again, and each start is an attempt (a Process) of its own.
SERVICE_TRANSITIONS: dict[str, tuple[str, ...]] = {
    ServiceState.STOPPED: (ServiceState.STARTING, ServiceState.HELD, ServiceState.RUNNING),
    ServiceState.HELD: (ServiceState.STARTING, ServiceState.STOPPED, ServiceState.FAILED),
    ServiceState.STARTING: (  # to itself: it ended before it had started up, and is tried again
        ServiceState.STARTING,
        ServiceState.UNREADY,
        ServiceState.RUNNING,
        ServiceState.STOPPING,
        *_ENDINGS,
    ),
    ServiceState.RUNNING: (ServiceState.UNREADY, ServiceState.STARTING, ServiceState.STOPPING, *_ENDINGS),
    ServiceState.UNREADY: (ServiceState.RUNNING, ServiceState.STARTING, ServiceState.STOPPING, *_ENDINGS),
    ServiceState.STOPPING: (ServiceState.STARTING, *_ENDINGS),
    ServiceState.BACKOFF: (*_BEGINNINGS, ServiceState.FAILED),
    ServiceState.CRASH_LOOP: (*_BEGINNINGS, ServiceState.FAILED),
    ServiceState.FAILED: _BEGINNINGS,
    ServiceState.COMPLETED: _BEGINNINGS,
}


class ServiceKind(TextChoices):
    PROCESS = "process", "A program"
    MCP = "mcp", "An MCP server"
    STAGE = "stage", "A stage of an environment"
    PLATFORM = "platform", "A part of GAIA"


class Desired(TextChoices):
    """What people want of it."""

    UP = "up", "Up"
    DOWN = "down", "Down"


class Restart(TextChoices):
    """When it is started again after it ended without being asked to."""

    ALWAYS = "always", "Always"
    ON_FAILURE = "on_failure", "When it failed"
    NEVER = "never", "Never"


class Condition(TextChoices):
    """What of a dependency must be true before a service starts."""

    STARTED = "started", "Its process runs"
    HEALTHY = "healthy", "It is ready"
    COMPLETED = "completed", "It ended with exit code 0"
    LOG_LINE = "log_line", "It has written a line"


class ProbeKind(TextChoices):
    HTTP = "http", "HTTP"
    TCP = "tcp", "TCP"
    EXEC = "exec", "A command"
    LOG = "log", "A line of its log"
    MCP = "mcp", "MCP initialize"
    CANARY = "canary", "A job that must come back"


class ProbePurpose(TextChoices):
    """What follows from its answer."""

    STARTUP = "startup", "The others wait for it"
    READINESS = "readiness", "What depends on it waits for it"
    LIVENESS = "liveness", "It is restarted when it fails"

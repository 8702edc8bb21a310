"""States of processes and operations, as data."""

from __future__ import annotations

from django.db.models import TextChoices


class ProcessState(TextChoices):
    STARTING = "starting", "Starting"
    RUNNING = "running", "Running"
    STOPPING = "stopping", "Stopping"
    EXITED = "exited", "Exited"
    LOST = "lost", "Lost"
    NOT_STARTED = "not_started", "Not started"


PROCESS_ACTIVE = (ProcessState.STARTING, ProcessState.RUNNING, ProcessState.STOPPING)
PROCESS_TERMINAL = (ProcessState.EXITED, ProcessState.LOST, ProcessState.NOT_STARTED)
PROCESS_TRANSITIONS: dict[str, tuple[str, ...]] = {
    ProcessState.STARTING: (ProcessState.RUNNING, ProcessState.NOT_STARTED, ProcessState.EXITED, ProcessState.LOST),
    ProcessState.RUNNING: (ProcessState.STOPPING, ProcessState.EXITED, ProcessState.LOST),
    ProcessState.STOPPING: (ProcessState.EXITED, ProcessState.LOST),
}


class PortState(TextChoices):
    """How a port that is handed out is used."""

    TAKEN = "taken", "Taken by somebody else"
    SILENT = "silent", "Its process runs and does not listen"
    SERVING = "serving", "Its process listens"
    FREE = "free", "Nobody listens"


class ExitSource(TextChoices):
    """Where the exit code is known from, best first."""

    WAIT = "wait", "Waited for by the daemon"
    PIDFD = "pidfd", "Asked of the kernel through its pidfd"
    JOURNAL = "journal", "Written by the exit shim"
    UNKNOWN = "unknown", "Not known: the shim was killed"


class StopCause(TextChoices):
    """Why GAIA ended a process."""

    ASKED = "asked", "Somebody asked for it"
    MEMORY = "memory", "It used more memory than it may"
    RUN_TIME = "run_time", "It ran longer than it may"
    QUIET = "quiet", "It wrote nothing for too long"
    LIVENESS = "liveness", "Its liveness probe failed"


class Origin(TextChoices):
    GAIA = "gaia", "GAIA"
    SCRIPT = "script", "A launch script"


class EnvironmentBase(TextChoices):
    """What a process inherits before its own variables are added."""

    CLEAN = "clean", "Only what a login has (HOME, PATH, LANG, …)"
    GAIA = "gaia", "All of the daemon's, for GAIA's own processes"


class OperationState(TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


OPERATION_ACTIVE = (OperationState.QUEUED, OperationState.RUNNING)
OPERATION_TERMINAL = (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED)
OPERATION_TRANSITIONS: dict[str, tuple[str, ...]] = {
    OperationState.QUEUED: (OperationState.RUNNING, OperationState.FAILED, OperationState.CANCELLED),
    OperationState.RUNNING: (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED),
}

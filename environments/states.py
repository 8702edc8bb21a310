"""States of environments, as data."""

from __future__ import annotations

from django.db.models import TextChoices


class EnvironmentState(TextChoices):
    CREATING = "creating", "Being made"
    READY = "ready", "Ready"
    DAMAGED = "damaged", "Damaged"
    REMOVING = "removing", "Being removed"
    REMOVED = "removed", "Removed"


ENVIRONMENT_ACTIVE = (
    EnvironmentState.CREATING,
    EnvironmentState.READY,
    EnvironmentState.DAMAGED,
    EnvironmentState.REMOVING,
)
ENVIRONMENT_BUSY = (EnvironmentState.CREATING, EnvironmentState.REMOVING)
"""States that only last while an operation works on the environment."""
ENVIRONMENT_TRANSITIONS: dict[str, tuple[str, ...]] = {
    EnvironmentState.CREATING: (EnvironmentState.READY, EnvironmentState.DAMAGED, EnvironmentState.REMOVING),
    EnvironmentState.READY: (EnvironmentState.CREATING, EnvironmentState.DAMAGED, EnvironmentState.REMOVING),
    EnvironmentState.DAMAGED: (
        EnvironmentState.CREATING,
        EnvironmentState.READY,
        EnvironmentState.DAMAGED,  # for another reason
        EnvironmentState.REMOVING,
    ),
    EnvironmentState.REMOVING: (EnvironmentState.CREATING, EnvironmentState.DAMAGED, EnvironmentState.REMOVED),
}


class Verdict(TextChoices):
    """How something is; of several, the worst counts."""

    OK = "ok", "Healthy"
    UNKNOWN = "unknown", "Not known"
    WARNING = "warning", "Needs attention"
    FAILED = "failed", "Unhealthy"


class BackupState(TextChoices):
    TAKING = "taking", "Being taken"
    VERIFIED = "verified", "Verified"
    FAILED = "failed", "Failed"
    DELETED = "deleted", "Deleted"


BACKUP_TRANSITIONS: dict[str, tuple[str, ...]] = {
    BackupState.TAKING: (BackupState.VERIFIED, BackupState.FAILED),
    BackupState.VERIFIED: (BackupState.FAILED, BackupState.DELETED),  # failed: the file was damaged or went missing
    BackupState.FAILED: (BackupState.DELETED,),
}

STAGE_NAMES = ("dev", "qa", "staging")
STAGE_PORT_OFFSETS = {"dev": 0, "qa": 100, "staging": 200}


class Engine(TextChoices):
    """What keeps the data of a layer's stages."""

    SQLITE = "sqlite", "SQLite"
    POSTGRESQL = "postgresql", "PostgreSQL"


class McpSet(TextChoices):
    """Which MCP servers the environments of a layer may use."""

    OFF = "off", "None"
    BASIC = "basic", "The basic ones"
    ALL = "all", "All"


class Need(TextChoices):
    """What else a layer stands on."""

    REDIS = "redis", "Redis"
    VECTOR = "vector", "A vector store"
    BACKUPS = "backups", "Backups"
    MONITORING = "monitoring", "Monitoring"


LOCAL = "local"
"""The layer that an environment belongs to until somebody says otherwise."""

"""The databases there are: each environment's stages' and GAIA's own."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from common.errors import GaiaError
from common.files import file_lock
from environments.actions.layer_servers import stage_url
from environments.drivers.backup_files import OWN, POSTGRES, SQLITE
from environments.drivers.backup_postgres import Server
from environments.drivers.databases import stage_database
from environments.drivers.postgres import server_of
from environments.models import Backup, Layer, Stage
from environments.states import ENVIRONMENT_ACTIVE, EnvironmentState

_THERE = (EnvironmentState.READY, EnvironmentState.DAMAGED)
OWN_CALLED = "GAIA's own database"


@dataclass(frozen=True)
class Database:
    """One database that is backed up.

    Args:
        stage: whose; None for GAIA's own.
    """

    stage: Stage | None = None

    @property
    def key(self) -> str:
        """What its backups are of: `environment/shop-dev1/qa`, or `gaia`."""
        return self.stage.owner if self.stage else OWN

    @property
    def label(self) -> str:
        """What its backups' names begin with: `shop-dev1-qa`."""
        return f"{self.stage.environment.directory}-{self.stage.name}" if self.stage else OWN

    @property
    def called(self) -> str:
        """What people call it in a sentence."""
        return f"the database of {self.stage.called}" if self.stage else OWN_CALLED

    @property
    def engine(self) -> str:
        if self.stage is not None:
            return str(self.stage.environment.layer.engine)
        own = str(settings.DATABASES["default"]["ENGINE"])
        return POSTGRES if own.endswith("postgresql") else SQLITE

    @property
    def file(self) -> Path:
        """Where a SQLite database lies. Raises: Conflict when its place leads out of the checkout."""
        if self.stage is None:
            return Path(str(settings.DATABASES["default"]["NAME"]))
        return stage_database(Path(self.stage.environment.path), self.stage.name, self.stage.database)

    @property
    def server(self) -> Server:
        """Where a PostgreSQL database is. Raises: Conflict, Refused for a stage whose layer has no server for it."""
        if self.stage is not None:
            return server_of(stage_url(self.stage, _layer_with_server(self.stage)))
        own = settings.DATABASES["default"]
        return Server(
            name=str(own["NAME"]),
            user=str(own.get("USER", "")),
            password=str(own.get("PASSWORD", "")),
            host=str(own.get("HOST", "")),
            port=str(own.get("PORT", "")),
            options=own.get("OPTIONS") or {},
        )

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return str(self.file) if self.engine == SQLITE else f"PostgreSQL database {self.server.name}"

    @property
    def exists(self) -> bool:
        """Whether there is something to back up; where a link leads out of a checkout, taking it says so."""
        try:
            if self.stage is not None and self.engine == POSTGRES:
                return self.stage.environment.layer_name in self.stage.servers
            return self.engine == POSTGRES or self.file.is_file()
        except GaiaError:
            return True

    def lock(self, *, timeout: float = 0.0) -> AbstractContextManager[None]:
        """Hold it while it is copied or replaced; it ends with the process. Raises: Conflict that names the holder."""
        return file_lock(lock_path(self.key), timeout=timeout, what=self.called)


def _layer_with_server(stage: Stage) -> Layer:
    """The stage's layer; when that is one without a server, the last that it had a database in."""
    layer = stage.environment.layer
    known = [] if layer.engine == POSTGRES else list(stage.servers)
    return Layer.objects.filter(name=known[-1]).first() or layer if known else layer


def lock_path(key: str) -> Path:
    """The lock file of the database with this key."""
    return Path(settings.GAIA.home.locks / f"database-{key.replace('/', '-')}.lock")


def directory() -> Path:
    """Where backups lie."""
    return Path(settings.GAIA.home.data / "backups")


def of_backup(backup: Backup) -> Database:
    """The database a backup would be restored to: an environment that was made again has new rows."""
    if backup.stage is None:
        return Database()
    return Database(present(backup.stage) or backup.stage)


def present(stage: Stage) -> Stage | None:
    """The stage as it is there today; None when its environment has been removed."""
    if stage.environment.state in ENVIRONMENT_ACTIVE:
        return stage
    same = Stage.objects.select_related("environment__project").filter(
        name=stage.name, environment__name=stage.environment.name, environment__project=stage.environment.project_id,
        environment__state__in=ENVIRONMENT_ACTIVE,
    )  # fmt: skip
    return same.first()


def every_stage(environments: Iterable[Any] | None = None) -> list[Stage]:
    """Stages whose checkout should be there, in the order of their environments.

    Args:
        environments: only theirs.
    """
    stages = Stage.objects.filter(environment__state__in=_THERE).select_related(
        "environment__project", "environment__layer"
    )
    if environments is not None:
        stages = stages.filter(environment__in=list(environments))
    return list(stages.order_by("environment__project__name", "environment__number", "port"))


def databases(*, stages: Iterable[Stage] | None = None, own: bool = True) -> list[Database]:
    """Databases that can be backed up.

    Args:
        stages: of these; None means all.
        own: GAIA's own, too; it comes last, when the rows of the others' backups are in it.
    """
    found = [Database(stage) for stage in (every_stage() if stages is None else stages)]
    return [each for each in [*found, *([Database()] if own else [])] if each.exists]

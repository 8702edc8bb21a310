"""What was left behind by what was killed, and a clean start: `gaia up --clean`.

Only what nobody works with any more is taken for left behind, and only what can be made again is removed: a lock that
somebody holds, a directory with work in it, a process or a session that lives is never touched. Lock files of what
goes on being locked stay (removing one races with who takes it), and the journals of processes, too: they are the
memory of what ended while nobody looked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from common.errors import GaiaError
from common.locks import lock_held
from environments.actions import backups
from environments.actions import leftovers as half_made
from environments.actions.databases import lock_path
from environments.models import Backup, Environment
from environments.reconcile import refresh_git
from environments.states import ENVIRONMENT_BUSY, BackupState
from processes.actions.harvest import harvest_if_gone, is_alive
from processes.actions.nodes import daemon_runs, ensure_node
from processes.actions.operations import fail_if_interrupted, is_interrupted
from processes.models import Operation, Process

_OPERATION_LOCK = re.compile(r"operation-(\d+)\.lock")


@dataclass(frozen=True)
class Leftover:
    """Something that was left behind.

    Args:
        kind: operation, process, environment, backup, directory, lock, sessions.
        what: one sentence. meaning: why it matters.
        clear: does away with it; false when it was not left behind after all.
        about: which of several.
    """

    kind: str
    what: str
    meaning: str
    clear: Callable[[], bool]
    about: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "what": self.what, "about": self.about}


def leftovers() -> list[Leftover]:
    """Everything that was left behind, as it is now; nothing is changed."""
    found: list[Leftover] = []
    for look in (_processes, _operations, _environments, _backups, _directories, _locks):
        found += look()
    return found


def clean() -> list[Leftover]:
    """Do away with what was left behind, the daemon being down or up. Returns: what was cleared."""
    cleared = []
    for _ in range(2):  # an operation that is written off leaves an environment in the making behind
        for left in leftovers():
            with suppress(GaiaError):  # somebody is faster, or the disk is unwilling: it is told by the doctor again
                if left.clear():
                    cleared.append(left)
    return [*cleared, *_sessions_gone()]


def _processes() -> Iterator[Leftover]:
    """Rows of processes that are gone; the daemon notices by itself while it runs."""
    if daemon_runs():
        return
    for process in Process.objects.active().filter(node=ensure_node()).exclude(pid=None):
        if not is_alive(process):
            what = f"{process.called} is said to run (pid {process.pid}), and is gone"
            meaning = "Nobody has written down that it ended."
            yield Leftover("process", what, meaning, _clear_process(process), process.owner)


def _clear_process(process: Process) -> Callable[[], bool]:
    def clear() -> bool:
        harvest_if_gone(process)
        process.refresh_from_db()
        return not process.active

    return clear


def _operations() -> Iterator[Leftover]:
    for operation in Operation.objects.active():
        if is_interrupted(operation):
            what = f"{operation.title} was interrupted"
            meaning = "It keeps others from working on the same."
            yield Leftover("operation", what, meaning, _clear_operation(operation), str(operation.pk))


def _clear_operation(operation: Operation) -> Callable[[], bool]:
    return lambda: fail_if_interrupted(operation)


def _environments() -> Iterator[Leftover]:
    """Environments in the making, or being removed, on which nobody works."""
    busy = Environment.objects.filter(state__in=ENVIRONMENT_BUSY).select_related("project")
    subjects = set(Operation.objects.active().values_list("subject", flat=True))
    for environment in busy:
        if f"project/{environment.project.name}" not in subjects:
            what = f"{environment.directory} is {environment.get_state_display().lower()}, and nobody works on it"
            meaning = "gaia env setup finishes it, once that is written down."
            yield Leftover("environment", what, meaning, _clear_environment(environment), environment.directory)


def _clear_environment(environment: Environment) -> Callable[[], bool]:
    def clear() -> bool:
        refresh_git([environment])
        environment.refresh_from_db()
        return environment.state not in ENVIRONMENT_BUSY

    return clear


def _backups() -> Iterator[Leftover]:
    for backup in Backup.objects.filter(state=BackupState.TAKING).select_related("stage__environment"):
        if not lock_held(lock_path(backups.key_of(backup))):
            what = f"the backup {backup.name} was interrupted"
            yield Leftover("backup", what, "It never became one.", _clear_backup(backup), backup.name)


def _clear_backup(backup: Backup) -> Callable[[], bool]:
    def clear() -> bool:
        backups.fail_interrupted()
        backup.refresh_from_db()
        return backup.state != BackupState.TAKING

    return clear


def _directories() -> Iterator[Leftover]:
    for directory in half_made.half_made():
        what = f"{directory} was left half made"
        yield Leftover("directory", what, "It takes room.", _clear_directory(directory), directory.name)


def _clear_directory(directory: Path) -> Callable[[], bool]:
    return lambda: half_made.remove_half_made(directory)


def _locks() -> Iterator[Leftover]:
    """Lock files of operations that are over; others are taken again and again, and stay."""
    files = {file: _OPERATION_LOCK.fullmatch(file.name) for file in settings.GAIA.home.locks.glob("operation-*.lock")}
    numbers = {file: int(found[1]) for file, found in files.items() if found}
    live = set(Operation.objects.active().filter(pk__in=numbers.values()).values_list("pk", flat=True))
    for file, number in numbers.items():
        if number not in live and not lock_held(file):
            yield Leftover("lock", f"{file} locks nothing", "Its operation is over.", _clear_lock(file), file.name)


def _clear_lock(file: Path) -> Callable[[], bool]:
    def clear() -> bool:
        if lock_held(file):
            return False
        file.unlink(missing_ok=True)
        return True

    return clear


def _sessions_gone() -> list[Leftover]:
    """Sessions that tmux does not have any more are written off; those that live are none of this."""
    from sessions import reconcile
    from sessions.models import Session

    if daemon_runs():
        return []
    before = {session.pk: session.name for session in Session.objects.live().own()}
    if not before:
        return []
    try:
        reconcile.look()
    except GaiaError:  # there is no tmux: nothing can be said of its sessions
        return []
    gone = set(before) - set(Session.objects.live().own().values_list("pk", flat=True))
    meaning = "Its row said that it lives."
    return [
        Leftover("session", f"session {before[pk]} is gone from tmux", meaning, lambda: True, before[pk])
        for pk in sorted(gone)
    ]

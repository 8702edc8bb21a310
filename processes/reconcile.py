"""Level-triggered: makes the processes of this node what the rows say, and the rows what the processes are.

The daemon calls `tick` whenever somebody committed and once a second besides. All methods run in the daemon's
one database thread; only `_stop` runs in a thread of its own, because it waits for the process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from django.db.models import QuerySet

from common.errors import GaiaError
from events.models import Level
from processes.actions import operations
from processes.actions import processes as actions
from processes.actions.stopping import leftovers_killed, stop_process
from processes.drivers import journal, liveness, ports, spawn
from processes.drivers.liveness import Identity
from processes.models import Node, Process
from processes.states import PROCESS_ACTIVE, EnvironmentBase, ExitSource, ProcessState

logger = logging.getLogger(__name__)

_LOGIN_VARIABLES = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ", "TMPDIR", "TERM", "SSH_AUTH_SOCK")


class ProcessReconciler:
    """Starts, adopts, harvests and stops the processes of one node.

    Args:
        node: whose.
        watch: called with (identity, process id) to be told of the exit by `ended`.
        in_thread: runs a callable in a thread of its own.
    """

    def __init__(
        self, node: Node, watch: Callable[[Identity, int], None], in_thread: Callable[[Callable[[], None]], None]
    ) -> None:
        self._node = node
        self._watch = watch
        self._in_thread = in_thread
        self._watched: set[int] = set()
        self._stopping: set[int] = set()
        self._first = True

    def rows(self) -> QuerySet[Process]:
        """The live rows of this node."""
        return Process.objects.filter(node=self._node, state__in=PROCESS_ACTIVE).order_by("id")

    def tick(self) -> None:
        """Look at every live row once. A row that cannot be dealt with does not keep the others from their turn."""
        for process in self.rows():
            try:
                self._look_at(process)
            except Exception:
                logger.exception("process %s (%s)", process.pk, process.owner)
        if self._first:
            self._first = False
            operations.fail_interrupted()

    def ended(self, process_id: int, code: int | None) -> None:
        """The shim of a watched process is gone.

        Args:
            code: its exit code when it was our child (negative: killed by that signal), None when it was adopted.
        """
        self._watched.discard(process_id)
        process = Process.objects.filter(pk=process_id, state__in=PROCESS_ACTIVE).first()
        if process is not None and process_id not in self._stopping:
            self._harvest(process, code)

    def _look_at(self, process: Process) -> None:
        if process.state == ProcessState.STARTING and process.pid is None:
            if process.stop_requested_at is not None and not self._first:
                actions.record_not_started(process, "it was stopped before it started", level=Level.INFO)
            elif self._first and self._found_started(process):
                return
            else:
                self._start(process)
        elif process.pk not in self._watched and process.pk not in self._stopping:
            self._adopt(process)
        if process.stop_requested_at is not None and process.pk in self._watched and process.pk not in self._stopping:
            self._stopping.add(process.pk)
            self._in_thread(lambda: self._stop(process))

    def _start(self, process: Process) -> None:
        try:
            if process.port is not None and (holder := ports.holder(process.port)) is not None:
                raise GaiaError(f"port {process.port} is taken by {ports.describe(holder)}")
            spawned = spawn.spawn(
                spawn.Spec(
                    argv=tuple(process.argv),
                    cwd=Path(process.cwd),
                    env=environment_of(process),
                    log=Path(process.log),
                    lock=Path(process.lock),
                    journal=Path(process.journal),
                    token=process.token,
                )
            )
        except (GaiaError, OSError) as error:
            actions.record_not_started(process, str(error))
            self._tell_owner(process)
            return
        actions.record_started(process, pid=spawned.pid, start_ticks=spawned.start_ticks, boot_id=spawned.boot_id)
        self._follow(process)

    def _found_started(self, process: Process) -> bool:
        """Whether a daemon that was killed between spawning and writing it down had started this one."""
        record = journal.records(Path(process.journal)).get(process.token)
        if record is None or record.pid is None:
            if not liveness.lock_held(Path(process.lock)):
                return False
            return True  # the shim has the lock and is about to write: the next tick sees it
        identity = liveness.identify(record.pid)
        if identity is not None and liveness.lock_held(Path(process.lock)):
            actions.record_started(
                process, pid=identity.pid, start_ticks=identity.start_ticks, boot_id=identity.boot_id, adopted=True
            )
            self._follow(process)
        else:
            process.pid = record.pid
            self._harvest(process, None)
        return True

    def _adopt(self, process: Process) -> None:
        """A live row that nobody watches: the daemon was restarted. Lock first, then the journal."""
        identity = identity_of(process)
        if liveness.lock_held(Path(process.lock)) and liveness.alive(identity):
            self._follow(process)
        else:
            self._harvest(process, None)

    def _follow(self, process: Process) -> None:
        self._watched.add(process.pk)
        self._watch(identity_of(process), process.pk)

    def _harvest(self, process: Process, code: int | None) -> None:
        record = journal.records(Path(process.journal)).get(process.token)
        if record is not None and record.code is not None:
            source = ExitSource.WAIT if code is not None else ExitSource.JOURNAL
            actions.record_exit(process, record.code, source)
        elif code is not None and code >= 0:
            actions.record_exit(process, code, ExitSource.WAIT)  # the journal could not be written: the disk is full
        else:
            problem = (
                "its exit shim was killed" if process.boot_id == liveness.boot_id() else "the machine was restarted"
            )
            killed = leftovers_killed(process)
            actions.record_lost(process, problem + (f"; {killed} processes it left were ended" if killed else ""))
        self._tell_owner(process)

    def _stop(self, process: Process) -> None:
        try:
            stop_process(process)
        finally:
            self._stopping.discard(process.pk)
        self._tell_owner(process)

    def _tell_owner(self, process: Process) -> None:
        kind, _, key = process.owner.partition("/")
        if kind == "operation":
            for operation in operations.Operation.objects.active().filter(pk=key):
                operations.fail_if_interrupted(operation)


def identity_of(process: Process) -> Identity:
    """What tells the row's shim from another process that got its pid later."""
    return Identity(process.boot_id, process.pid or 0, process.start_ticks or 0)


def environment_of(process: Process) -> dict[str, str]:
    """The complete environment a process starts with."""
    if process.env_base == EnvironmentBase.GAIA:
        base = dict(os.environ)
    else:
        base = {name: value for name, value in os.environ.items() if name in _LOGIN_VARIABLES or name.startswith("LC_")}
    return base | {str(name): str(value) for name, value in process.env.items()}

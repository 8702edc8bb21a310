"""GAIA's own tmux server: start sessions, see them all, write into them, read them, end them.

It is always the server on its own socket (`tmux -L NAME -f CONFIG`), never the user's. Bulk work goes in batches
over one connection; libtmux, which forks once per call and reads 123 fields per listing, gives the object model for
one-off work, and the tests a second opinion.
"""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from sessions.drivers import tmux_process
from sessions.drivers.tmux_client import TmuxClient, failed, no_server, scrubbed_environment, server_ended
from sessions.drivers.tmux_config import DEFAULT_HISTORY, check_tmux, write_config
from sessions.drivers.tmux_create import EXISTS, Created, CreateFailed, NewSession, create_line, read_answers, sort_out
from sessions.drivers.tmux_errors import (
    NOTHING_WRITTEN,
    NoServer,
    NotSubmitted,
    PaneDead,
    PaneInMode,
    PaneMissing,
    TmuxError,
    TmuxHung,
)  # fmt: skip
from sessions.drivers.tmux_facts import TAGS, PaneFacts, ServerIdentity, Snapshot, listing, parse_listing
from sessions.drivers.tmux_keys import check_id
from sessions.drivers.tmux_panes import TIMEOUT, TmuxPanes
from sessions.drivers.tmux_script import command

if TYPE_CHECKING:
    import libtmux

__all__ = [
    "EXISTS",
    "NOTHING_WRITTEN",
    "TAGS",
    "CreateFailed",
    "Created",
    "NewSession",
    "NoServer",
    "NotSubmitted",
    "PaneDead",
    "PaneFacts",
    "PaneInMode",
    "PaneMissing",
    "ServerIdentity",
    "Snapshot",
    "TmuxError",
    "TmuxHung",
    "TmuxServer",
    "check_tmux",
    "scrubbed_environment",
    "write_config",
]

SNAPSHOT_TIMEOUT = 2.0
CREATE_CHUNK = 50  # sessions per conversation: the server is busy for about 0.2 s

_EMPTY = "no current target"
_MISSING = re.compile(r"^can't find (?:window|pane): (\S+)$", re.MULTILINE)


class TmuxServer(TmuxPanes):
    """GAIA's tmux server, found by its socket name.

    Args:
        socket_name: for `tmux -L`; `Home.tmux_socket_name` gives GAIA's.
        config: GAIA's configuration file, written when it is missing; None for tmux's defaults (never `~/.tmux.conf`).
        history_limit: lines of scrollback per pane.
        env: variables that every pane shall have, besides the login's own.
        tmpdir: directory of the socket; default /tmp, whatever `$TMUX_TMPDIR` says.
    """

    def __init__(
        self,
        socket_name: str,
        *,
        config: Path | None = None,
        history_limit: int = DEFAULT_HISTORY,
        env: Mapping[str, str] | None = None,
        tmpdir: Path | None = None,
    ) -> None:
        super().__init__(TmuxClient(socket_name, config=config, env=env, tmpdir=tmpdir))
        self.history_limit = history_limit
        self._last_seen: ServerIdentity | None = None
        self._searched = False

    @property
    def socket_name(self) -> str:
        return self._client.socket_name

    @property
    def socket_path(self) -> Path:
        return self._client.socket_path

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment the server starts with; a `tmux` that is run outside this class needs it, too."""
        return self._client.environment

    def objects(self) -> libtmux.Server:
        """This server in libtmux's object model, for one-off work on windows and panes; each look forks a tmux.

        Raises: NoServer: libtmux takes a dead server for one without sessions.
        """
        import libtmux
        from libtmux.exc import LibTmuxException

        found = libtmux.Server(socket_path=self.socket_path, config_file=str(self._client.config or "/dev/null"))
        try:
            found.raise_if_dead()
        except (LibTmuxException, subprocess.SubprocessError) as error:
            raise no_server(self.socket_name) from error
        return found

    # Starting

    def create(self, batch: Sequence[NewSession]) -> list[Created | CreateFailed]:
        """Start sessions; one that fails does not keep the others from starting.

        Args:
            batch: any number; each program becomes its pane's own process.

        Returns: one answer per session, in order. `CreateFailed.reason` is `exists` when the name is taken.
        Raises: NoServer, TmuxHung, TmuxError; then some may have been started: a snapshot tells by their ids.
        """
        ready, refused = sort_out(batch)
        results: dict[int, Created | CreateFailed] = dict(refused)
        if ready:
            self._write_missing_config()
            self._find_lost_server()
        for start in range(0, len(ready), CREATE_CHUNK):
            results |= self._create_chunk(ready[start : start + CREATE_CHUNK])
        return [results[index] for index in range(len(batch))]

    def _create_chunk(self, chunk: Sequence[tuple[int, NewSession]]) -> dict[int, Created | CreateFailed]:
        path = self._client.environment["PATH"]
        options = [
            command("set-option", "-g", "remain-on-exit", "on"),
            command("set-option", "-g", "history-limit", str(self.history_limit)),
        ]
        completed = self._client.script(
            [*options, *(create_line(index, session, path) for index, session in chunk)], timeout=TIMEOUT, start=True
        )
        return read_answers(chunk, completed.stdout, completed.stderr)

    def _write_missing_config(self) -> None:
        config = self._client.config
        if config is not None and not config.exists():
            write_config(config, history_limit=self.history_limit)

    # Seeing

    def snapshot(self) -> Snapshot:
        """Every pane of the server, in one call.

        Returns: the panes, each once; a snapshot without server and panes when no server runs.
        Raises: TmuxHung, TmuxError: then nothing is known, which is not the same as nothing there.
        """
        nonce = secrets.token_hex(6)
        words = listing(nonce)
        try:
            completed = self._client.call(words, timeout=SNAPSHOT_TIMEOUT)
        except NoServer:
            if not self._find_lost_server():
                self._last_seen = None
                return Snapshot(None, ())
            completed = self._client.call(words, timeout=SNAPSHOT_TIMEOUT)
        if _EMPTY in completed.stderr:  # its last session has ended, and it is about to
            return Snapshot(None, ())
        if not completed.ok:
            raise failed(completed)
        found = parse_listing(completed.stdout, nonce)
        self._last_seen = found.server
        if found.server is not None and any(pane.ended_unnoticed for pane in found.panes):
            tmux_process.remind_of_children(found.server.pid)
        return found

    # Ending

    def kill(self, targets: Iterable[str]) -> tuple[str, ...]:
        """End windows, wherever they are linked, with the programs in them.

        Args:
            targets: ids of windows (`@3`) or of panes (`%3`: its whole window).

        Returns: those that were gone already.
        Raises: TmuxHung, TmuxError.
        """
        ids = list(dict.fromkeys(targets))
        for target in ids:
            check_id(target)
        if not ids:
            return ()
        lines = [command("kill-window", "-t", target) for target in ids]
        try:
            completed = self._client.script(lines, timeout=TIMEOUT, tries=1)
        except NoServer:
            return tuple(ids)
        missing = set(_MISSING.findall(completed.stderr))
        if not completed.ok and not missing and not server_ended(completed):  # it goes with its last session
            raise failed(completed)
        return tuple(target for target in ids if target in missing)

    def kill_server(self) -> bool:
        """End this server with all its sessions, and make sure of it; one that lost its socket, too.

        Returns: False when none ran.
        Raises: TmuxError when the server does not end even by SIGKILL.
        """
        self._last_seen = None
        answering = tmux_process.listening_pid(self.socket_path)
        pids = dict.fromkeys([*([answering] if answering else []), *self._living_pids()])
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if pid == answering:
                    self._tell_to_end(process)
                else:
                    process.terminate()  # its socket was deleted; SIGTERM ends it in the same way
                tmux_process.end(process, grace=TIMEOUT)
        self._remove_dead_socket()
        return bool(pids)

    def _tell_to_end(self, process: psutil.Process) -> None:
        with suppress(NoServer):
            try:
                self._client.call(["kill-server"], timeout=SNAPSHOT_TIMEOUT)
            except TmuxHung:
                process.kill()

    def _remove_dead_socket(self) -> None:
        if tmux_process.listening_pid(self.socket_path) is None:
            with suppress(OSError):
                self.socket_path.unlink()

    # A server whose socket was deleted

    def revive(self, pid: int) -> bool:
        """Have the server with this pid make its deleted socket again.

        Returns: True when it answers on the socket; False when the process is not this server, or another one has
            taken the socket.
        """
        if not tmux_process.is_server(pid, self.socket_name, self._tmpdir):
            return False
        return tmux_process.revive(pid, self.socket_path, timeout=SNAPSHOT_TIMEOUT)

    def _find_lost_server(self) -> bool:
        """Bring back a server that lives without its socket; a second one beside it would hide all its sessions."""
        if tmux_process.listening_pid(self.socket_path) is not None:
            return False
        if self._last_seen is not None:
            return self.revive(self._last_seen.pid)
        if self._searched:  # the list of processes is long: once is enough, from then on the server's pid is known
            return False
        self._searched = True
        return any(self.revive(pid) for pid in self._living_pids())

    def _living_pids(self) -> list[int]:
        return tmux_process.find_servers(self.socket_name, self._tmpdir)

    @property
    def _tmpdir(self) -> str:
        return str(self.socket_path.parent.parent)

    # For people

    def passthrough_argv(self, words: Sequence[str]) -> list[str]:
        """The command that runs any tmux command on this server; run it with `environment` plus the terminal's TERM."""
        return self._client.argv(*words, utf8=False)

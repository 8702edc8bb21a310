"""One call of the `tmux` program: its arguments, its environment, its timeouts, and what its errors mean."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.errors import InvalidInput, Unavailable
from common.run import CommandMissing, CommandTimedOut, Completed, run
from sessions.drivers.tmux_config import missing_tmux
from sessions.drivers.tmux_errors import NoServer, TmuxError, TmuxHung
from sessions.drivers.tmux_script import script

# The server hands its environment to every pane, so it starts with what a login would have and nothing of GAIA's own.
# Not TMUX_TMPDIR: it moves the socket, and who asks with another value than the one the server was started with would
# see no sessions and start a second server.
_KEPT = frozenset(
    ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TERM", "PATH", "TZ", "TMPDIR"),
)
_SOCKETS = "/tmp"  # noqa: S108  where tmux puts them (tmux(1), -L), private by a directory of the user's below it
_SOCKET_PATH_LIMIT = 107  # bytes of sockaddr_un.sun_path without its NUL
_SOCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

_NO_SERVER = re.compile(
    r"no server running on |error connecting to .*\((?:No such file or directory|Connection refused)\)",
)
_GOING_AWAY = re.compile(r"server exited|lost server|Connection reset|Broken pipe")
_TRIES = 5
_PAUSE = 0.05  # seconds, more with every try


def scrubbed_environment(source: Mapping[str, str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The part of an environment that panes may inherit.

    Args:
        source: usually `os.environ`; only the login variables (`HOME`, `PATH`, `LANG`, `LC_*`, …) are taken, and a
            virtual environment's own directory is taken off `PATH`.
        extra: variables to add, whatever their name.
    """
    kept = {name: value for name, value in source.items() if name in _KEPT or name.startswith("LC_")}
    venv = source.get("VIRTUAL_ENV")
    if venv and "PATH" in kept:
        own = os.path.join(venv, "bin")
        kept["PATH"] = os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if part.rstrip("/") != own)
    return kept | dict(extra or {})


class TmuxClient:
    """Runs commands on one tmux server, found by socket name or by socket.

    Args:
        socket_name: for `tmux -L`.
        socket: of a server that GAIA did not start, for `tmux -S`; `socket_name` only names it then, and no command
            ever starts a server there.
        config: file for `tmux -f`; None for none at all, never the user's own `~/.tmux.conf`.
        env: variables added to the scrubbed environment of the server.
        tmpdir: directory of the socket; default /tmp, whatever TMUX_TMPDIR says: everybody finds the same server.
    """

    def __init__(
        self,
        socket_name: str,
        *,
        socket: Path | None = None,
        config: Path | None = None,
        env: Mapping[str, str] | None = None,
        tmpdir: Path | None = None,
    ) -> None:
        if socket is None and not _SOCKET_NAME.fullmatch(socket_name):
            raise InvalidInput(
                f"{socket_name!r} is not a name for a tmux socket", fix="Use letters, digits, '_' and '-'."
            )
        self.socket_name = socket_name
        self._socket = socket
        self.config = config
        self.environment = scrubbed_environment(os.environ, env)
        self.environment.setdefault("PATH", os.defpath)
        if not any(self.environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")):
            self.environment["LANG"] = "C.UTF-8"  # or programs take every accent for two characters
        if tmpdir is not None:
            self.environment["TMUX_TMPDIR"] = str(tmpdir)
        # tmux puts the calling client's PATH over the one a new session was given; a caller without leaves it alone
        self._call_environment = {name: value for name, value in self.environment.items() if name != "PATH"}
        self._program: str | None = None

    @property
    def program(self) -> str:
        """Absolute path of tmux.

        Raises: Unavailable when it is not installed.
        """
        if self._program is None:
            found = shutil.which("tmux", path=self.environment["PATH"]) or shutil.which("tmux")
            if found is None:
                raise missing_tmux()
            self._program = os.path.abspath(found)
        return self._program

    @property
    def socket_path(self) -> Path:
        """Where tmux puts the socket (tmux(1), -L and TMUX_TMPDIR)."""
        if self._socket is not None:
            return self._socket
        return Path(self.environment.get("TMUX_TMPDIR", _SOCKETS)) / f"tmux-{os.getuid()}" / self.socket_name

    def argv(self, *words: str, utf8: bool = True) -> list[str]:
        """The argument list of a tmux call on this server."""
        flags = ["-u"] if utf8 else []
        if self._socket is not None:
            return [self.program, *flags, "-N", "-S", str(self._socket), *words]
        return [self.program, *flags, "-L", self.socket_name, "-f", str(self.config or "/dev/null"), *words]

    def call(self, words: Sequence[str], *, timeout: float, stdin: str | None = None, tries: int = _TRIES) -> Completed:
        """Run tmux; the exit code is the caller's to judge.

        Args:
            words: command and arguments, `;` between commands.
            timeout: seconds.
            stdin: text for standard input.
            tries: how often, while the server that answers is one that is ending.

        Raises: NoServer, TmuxHung, TmuxError, Unavailable when tmux is missing.
        """
        self._check_socket_path()
        for attempt in range(1, tries + 1):
            completed = self._run_once(words, timeout=timeout, stdin=stdin)
            if completed.ok or not server_ended(completed) or attempt == tries:
                break
            if completed.stdout and stdin is not None:
                break  # part of the script ran: running it again would do that part twice
            time.sleep(_PAUSE * attempt)
        if not completed.ok and says_no_server(completed.stderr):
            raise no_server(self.socket_name, others=self._socket is not None)
        return completed

    def script(self, lines: Iterable[str], *, timeout: float, start: bool = False, tries: int = _TRIES) -> Completed:
        """Run a script of tmux commands over one connection.

        Args:
            lines: each as made by `tmux_script`; a failing line does not stop the next.
            timeout: seconds for all of them.
            start: start the server when none runs.
            tries: as for `call`.
        """
        words = ["start-server", ";"] if start else []
        return self.call([*words, "source-file", "-"], timeout=timeout, stdin=script(lines), tries=tries)

    def _run_once(self, words: Sequence[str], *, timeout: float, stdin: str | None) -> Completed:
        try:
            # from /: a server keeps the directory it was started in, and that could not be unmounted then
            return run(
                self.argv(*words), timeout=timeout, cwd="/", env=self._call_environment, stdin=stdin, check=False
            )
        except CommandTimedOut as error:
            raise TmuxHung(
                f"tmux did not answer within {timeout:g} s",
                meaning=f"The server {self.socket_name} hangs or the machine is overloaded; its sessions may run on.",
                fix=f"Try again; if it stays so, look at it: fuser {self._socket}"
                if self._socket is not None
                else "Try again; if it stays so, `gaia down --all` ends this tmux server and its sessions.",
                socket=str(self.socket_path),
            ) from error
        except CommandMissing as error:
            self._program = None
            raise missing_tmux() from error

    def _check_socket_path(self) -> None:
        path = os.fsencode(self.socket_path)
        if len(path) > _SOCKET_PATH_LIMIT:
            raise Unavailable(
                f"the path of the tmux socket is too long: {self.socket_path}",
                meaning=f"The system allows {_SOCKET_PATH_LIMIT} bytes; this has {len(path)}.",
                fix="Use a shorter name or directory for it.",
            )


def no_server(socket_name: str, *, others: bool = False) -> NoServer:
    """The error for a socket on which nobody listens; `others`: it is not GAIA's."""
    return NoServer(
        f"no tmux server runs on socket {socket_name}",
        meaning="There are no sessions.",
        fix="It has ended, and its sessions with it."
        if others
        else "`gaia up` starts the server with the first session.",
    )


def says_no_server(text: str) -> bool:
    """Whether tmux says that nobody listens on the socket."""
    return _NO_SERVER.search(text) is not None


def server_ended(completed: Completed) -> bool:
    """Whether the server went away during the call."""
    return not completed.ok and _GOING_AWAY.search(completed.stderr) is not None


def failed(completed: Completed) -> TmuxError:
    """The error for a tmux call that answered with a failure; it names the command, not the whole line."""
    reason = (completed.stderr.strip() or completed.stdout.strip() or f"exit code {completed.code}").splitlines()[0]
    return TmuxError(
        f"tmux: {reason[:300]}", fix="`gaia tmux list-panes -a` shows what the server has.", exit_code=completed.code
    )

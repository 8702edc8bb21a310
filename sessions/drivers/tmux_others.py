"""tmux servers that GAIA did not start: looked at, and changed nowhere but in a pane that was adopted.

Each is found by its socket. Nothing here starts a server, removes a socket, or resizes anything; what an adoption puts
there are two options of the pane, which its program cannot see.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import Conflict
from sessions.drivers.tmux_client import TmuxClient, failed
from sessions.drivers.tmux_errors import NoServer, TmuxError
from sessions.drivers.tmux_facts import GAIA_HOME, GAIA_ID, PROCESS, PaneFacts, ServerIdentity, listing, parse_rows
from sessions.drivers.tmux_keys import check_gaia_id, check_id, missing_pane
from sessions.drivers.tmux_panes import TmuxPanes
from sessions.drivers.tmux_script import command

LOOK_TIMEOUT = 1.0
_WRITE_TIMEOUT = 2.0
_EMPTY = "no current target"
_MARKED, _TAKEN, _OTHER = "gaia-marked", "gaia-taken", "gaia-other"


@dataclass(frozen=True)
class Seen:
    """What one server has: its sessions by their ids, each with its panes in the order in which they were made."""

    server: ServerIdentity | None
    sessions: Mapping[str, tuple[PaneFacts, ...]]

    def panes(self) -> list[PaneFacts]:
        """Every pane; one that is linked into several sessions comes several times."""
        return [pane for panes in self.sessions.values() for pane in panes]


class OtherServer(TmuxPanes):
    """A tmux server of somebody else's, by the path of its socket."""

    def __init__(self, socket: Path) -> None:
        super().__init__(TmuxClient(str(socket), socket=socket))

    @property
    def environment(self) -> Mapping[str, str]:
        """What a `tmux` that is run outside this class needs."""
        return self._client.environment

    def look(self, *, timeout: float = LOOK_TIMEOUT) -> Seen:
        """Every session with its panes, in one call that changes nothing.

        Args:
            timeout: seconds.

        Raises: NoServer; TmuxHung, TmuxError: then nothing is known.
        """
        nonce = secrets.token_hex(6)
        completed = self._client.call(listing(nonce), timeout=timeout, tries=1)
        if not completed.ok and _EMPTY in completed.stderr:
            return Seen(None, {})
        if not completed.ok:
            raise failed(completed)
        server, rows = parse_rows(completed.stdout, nonce)
        sessions: dict[str, dict[str, PaneFacts]] = {}
        for pane, _ in rows:
            sessions.setdefault(pane.session_id, {})[pane.pane_id] = pane
        return Seen(server, {key: tuple(sorted(panes.values(), key=_number)) for key, panes in sessions.items()})

    def mark(self, pane_id: str, process: str, gaia_id: str, home: str) -> None:
        """Mark a pane as adopted, if it is still that process on that server; tmux judges and acts in one step.

        Args:
            pane_id: such as `%3`.
            process: as `PaneFacts.process` gave it.
            gaia_id: the mark.
            home: whose mark it is.

        Raises: PaneMissing when it is another one by now; Conflict when another GAIA has marked it; TmuxError.
        """
        check_id(pane_id)
        check_gaia_id(gaia_id)
        put = [command("set-option", "-p", "-t", pane_id, option, value)
               for option, value in ((GAIA_ID, gaia_id), (GAIA_HOME, home))]  # fmt: skip
        free = f"#{{||:#{{==:#{{{GAIA_ID}}},}},#{{==:#{{{GAIA_HOME}}},{home}}}}}"
        inner = _if(pane_id, free, [*put, _say(_MARKED)], [_say(_TAKEN)])
        answer = self._ask(_if(pane_id, f"#{{==:{PROCESS},{process}}}", [inner], [_say(_OTHER)]), pane_id)
        if answer == _TAKEN:
            raise Conflict(
                "another GAIA has adopted this session",
                meaning="Two of them would type into it without knowing of each other.",
                fix="Let it go there: gaia session release NAME.",
                pane=pane_id,
            )
        if answer == _OTHER:
            raise missing_pane(pane_id)
        if answer != _MARKED:
            raise TmuxError(f"tmux did not confirm that it marked pane {pane_id}: {answer[:120]!r}")

    def unmark(self, pane_id: str, gaia_id: str) -> None:
        """Take the marks off a pane again; one that has them no more, or is gone, is left as it is.

        Raises: TmuxHung, TmuxError.
        """
        check_id(pane_id)
        off = [command("set-option", "-p", "-u", "-t", pane_id, option) for option in (GAIA_ID, GAIA_HOME)]
        self._on_marked(pane_id, gaia_id, off)

    def kill_panes(self, panes: Iterable[PaneFacts]) -> None:
        """End marked panes, each with the program in it; other panes of their sessions stay.

        Raises: TmuxHung, TmuxError.
        """
        for pane in panes:
            check_id(pane.pane_id)
            self._on_marked(pane.pane_id, pane.gaia_id, [command("kill-pane", "-t", pane.pane_id)])

    def attach_argv(self, session_id: str, *, read_only: bool = False) -> list[str]:
        """The command that attaches a terminal; -E: the session keeps the environment that its new windows get."""
        flags = ("-E", "-r") if read_only else ("-E",)
        return self._client.argv("attach-session", *flags, "-t", session_id, utf8=False)

    def _on_marked(self, pane_id: str, gaia_id: str, commands: list[str]) -> None:
        ours = f"#{{==:#{{{GAIA_ID}}},{check_gaia_id(gaia_id)}}}"
        try:
            completed = self._client.script(
                [_if(pane_id, ours, commands, [_say(_OTHER)])], timeout=_WRITE_TIMEOUT, tries=1
            )
        except NoServer:
            return
        if not completed.ok and "can't find" not in completed.stderr and "server exited" not in completed.stderr:
            raise failed(completed)

    def _ask(self, line: str, pane_id: str) -> str:
        return self._on_pane(pane_id, line).strip()


def _number(pane: PaneFacts) -> int:
    return int(pane.pane_id.removeprefix("%") or 0)


def _say(word: str) -> str:
    return command("display-message", "-p", word)


def _if(pane_id: str, condition: str, then: list[str], otherwise: list[str]) -> str:
    test = command("if-shell", "-F", "-t", pane_id, condition)
    return f"{test} {{ {' ; '.join(then)} }} {{ {' ; '.join(otherwise)} }}"

"""The session that a control client is attached to: nobody's terminal, and ended with its client.

tmux has no client without a session. Each of GAIA's control clients makes one of its own as it attaches; its name
begins with a character that no session of GAIA's may begin with, so whoever lists sessions can tell it by the name
alone. It is never without a client before that ends, so those that are were left by clients that were killed; the next
client ends them. Not by tmux's `destroy-unattached`: with it, killing a client can crash the server, and all sessions
with it (tmux issue 5497, seen here on 3.3a).
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterable
from enum import StrEnum

from common.errors import InvalidInput
from sessions.drivers.tmux_client import TmuxClient
from sessions.drivers.tmux_script import command

PREFIX = "+gaia-"
_PROGRAM = ("/bin/sh", "-c", "exec cat")  # waits for ever, and costs nothing while it does


class Purpose(StrEnum):
    """What a control client is for, with its flags (tmux(1), attach-session -f).

    `command` gets no output of panes. `view` does, and is paused when it is 2 s behind, so that it cannot hold up a
    program. Neither counts for the size of a window.
    """

    COMMAND = "command"
    VIEW = "view"

    @property
    def flags(self) -> str:
        return "no-output,ignore-size" if self is Purpose.COMMAND else "pause-after=2,ignore-size"


def new_name(purpose: Purpose) -> str:
    """A name for a control client's session that no other has."""
    return f"{PREFIX}{purpose}-{secrets.token_hex(6)}"


def is_control_session(name: str) -> bool:
    """Whether a tmux session is there for a control client only, and is to be shown to nobody."""
    return name.startswith(PREFIX)


def attach_argv(client: TmuxClient, name: str, purpose: Purpose, *, host: str = "") -> list[str]:
    """The command that runs a control client on a server; it never starts one.

    Args:
        client: how tmux is called for that server.
        name: of the session it makes.
        purpose: what it is for.
        host: the machine of the server, as ssh knows it; empty for this one.
    """
    words = client.argv(
        "-N", "-C", "new-session", "-E", "-s", name, "-n", "control", "-c", "/", "-f", purpose.flags, "--", *_PROGRAM
    )  # fmt: skip
    return _over_ssh(host, words, client) if host else words


def end_line(name: str) -> str:
    """The line of tmux commands that ends a control client's session; windows linked into it live on in their own."""
    return command("kill-session", "-t", f"={name}")


LIST_ORPHANS = command("list-sessions", "-f", "#{==:#{session_attached},0}", "-F", "#{session_name}")


def orphans(names: Iterable[str]) -> list[str]:
    """Those of the sessions without a client that a control client left."""
    return [name for name in names if is_control_session(name)]


def _over_ssh(host: str, words: list[str], client: TmuxClient) -> list[str]:
    """The same on another machine, which finds tmux on its own PATH."""
    if host.startswith("-") or not host.isprintable():
        raise InvalidInput(f"{host!r} is not the name of a machine")
    variables = [f"{name}={value}" for name, value in client.environment.items() if name in ("TMUX_TMPDIR", "LANG")]
    remote = shlex.join(["env", *variables, "tmux", *words[1:]])
    return ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", host, remote]

"""Starting many sessions in one conversation with tmux."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import GaiaError, InvalidInput
from common.names import check_name
from sessions.drivers.tmux_facts import GAIA_ID, HOME_SESSION, TAGS
from sessions.drivers.tmux_script import check_text, command, line, literal_format

EXISTS = "exists"
# The pane's program replaces this shell: nothing is left that would run text typed after the program has ended.
# tmux alone would do for two words or more, but hands a single one to the user's shell.
EXEC = ("/bin/sh", "-c", 'exec "$0" "$@"')
_ARGUMENT_LIMIT = 131_071  # bytes of one argument or variable, Linux MAX_ARG_STRLEN
_TOTAL_LIMIT = 1_000_000  # bytes of all of them; Linux allows 2 MB at the usual stack limit
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ANSWER = re.compile(r"^gaia-ok (\d+) (\$\d+) (@\d+) (%\d+) (\d+)$", re.MULTILINE)
_DUPLICATE = re.compile(r"^duplicate session: (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class NewSession:
    """A session to start: one window, one pane, one program.

    `argv` is the program itself, found by absolute path or on the PATH in `env`. `tags` has keys of `TAGS`.
    Width and height are in cells.
    """

    name: str
    gaia_id: str
    cwd: Path
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    width: int = 200
    height: int = 50


@dataclass(frozen=True)
class Created:
    """A session that runs now."""

    name: str
    session_id: str
    window_id: str
    pane_id: str
    pane_pid: int


@dataclass(frozen=True)
class CreateFailed:
    """A session that was not started, and why; the reason is `exists` when another one has the name."""

    name: str
    reason: str


def refusal(session: NewSession) -> str:
    """Why this session cannot be started, or an empty string."""
    try:
        check_name(session.name, what="session name")
        check_text(session.gaia_id, what="the id")
        _check_program(session)
        _check_environment(session.env)
        _check_tags(session.tags)
        literal_format(check_text(str(session.cwd), what="the directory's name"))
    except GaiaError as error:
        return error.what
    if not os.path.isdir(session.cwd):
        # tmux itself would quietly start the program in the home directory
        return f"the directory {session.cwd} does not exist"
    if not os.access(session.cwd, os.X_OK):
        return f"the directory {session.cwd} may not be entered"
    if not (1 <= session.width <= 10_000 and 1 <= session.height <= 10_000):
        return f"{session.width}x{session.height} is no size for a terminal"
    return ""


def sort_out(batch: Sequence[NewSession]) -> tuple[list[tuple[int, NewSession]], dict[int, CreateFailed]]:
    """Those that can be started, with their place in the batch; and those that cannot, by theirs."""
    ready: list[tuple[int, NewSession]] = []
    refused: dict[int, CreateFailed] = {}
    names: set[str] = set()
    for index, session in enumerate(batch):
        reason = refusal(session) or (EXISTS if session.name in names else "")
        names.add(session.name)
        if reason:
            refused[index] = CreateFailed(session.name, reason)
        else:
            ready.append((index, session))
    return ready, refused


def create_line(index: int, session: NewSession, path: str) -> str:
    """The script line that starts a session, marks its pane and reports; when it fails it leaves nothing behind.

    Args:
        index: number by which `read_answers` finds the report.
        path: PATH for the program when `session.env` has none.
    """
    target = f"={session.name}:"
    variables = {"PATH": path} | dict(session.env)
    words = ["-d", "-s", session.name, "-x", str(session.width), "-y", str(session.height)]
    words += ["-c", literal_format(str(session.cwd))]
    for name, value in variables.items():
        words += ["-e", f"{name}={value}"]
    marks = {GAIA_ID: session.gaia_id} | {f"@gaia_{tag}": value for tag, value in session.tags.items()}
    return line(
        command("new-session", *words, "--", *EXEC, *session.argv),
        *(command("set-option", "-p", "-t", target, mark, value) for mark, value in marks.items()),
        command("set-option", "-p", "-F", "-t", target, HOME_SESSION, "#{session_id}"),
        command("display-message", "-p", "-t", target,
                f"gaia-ok {index} #{{session_id}} #{{window_id}} #{{pane_id}} #{{pane_pid}}"),
    )  # fmt: skip


def read_answers(
    sessions: Sequence[tuple[int, NewSession]], stdout: str, stderr: str
) -> dict[int, Created | CreateFailed]:
    """What became of each session, from what tmux printed."""
    answers = {int(found[1]): found for found in _ANSWER.finditer(stdout)}
    taken = set(_DUPLICATE.findall(stderr))
    results: dict[int, Created | CreateFailed] = {}
    for index, session in sessions:
        found = answers.get(index)
        if found is not None:
            results[index] = Created(session.name, found[2], found[3], found[4], int(found[5]))
        elif session.name in taken:
            results[index] = CreateFailed(session.name, EXISTS)
        else:
            reason = next((text for text in stderr.splitlines() if text.strip()), "tmux gave no answer")
            results[index] = CreateFailed(session.name, f"tmux: {reason.strip()}")
    return results


def _check_program(session: NewSession) -> None:
    if not session.argv or not session.argv[0]:
        raise InvalidInput("no program was given")
    for word in session.argv:
        check_text(word, what="an argument")
        if len(word.encode()) > _ARGUMENT_LIMIT:
            raise InvalidInput(
                f"an argument of {len(word.encode())} bytes is longer than the system's {_ARGUMENT_LIMIT}"
            )
    total = sum(len(word.encode()) + 9 for word in session.argv)
    if total > _TOTAL_LIMIT:
        raise InvalidInput(f"the arguments have {total} bytes together, more than {_TOTAL_LIMIT}")


def _check_environment(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise InvalidInput(f"{name!r} is not a name for an environment variable")
        check_text(value, what=f"the value of {name}")
        if len(name) + len(value.encode()) >= _ARGUMENT_LIMIT:
            raise InvalidInput(f"the value of {name} is longer than the system's {_ARGUMENT_LIMIT} bytes")


def _check_tags(tags: Mapping[str, str]) -> None:
    for tag, value in tags.items():
        if tag not in TAGS:
            raise InvalidInput(f"{tag!r} is not a tag", fix=f"Tags are {', '.join(TAGS)}.")
        if not value.isprintable():
            raise InvalidInput(f"the tag {tag} has unprintable characters")

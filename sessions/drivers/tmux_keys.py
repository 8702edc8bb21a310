"""What may be typed into a pane, and how."""

from __future__ import annotations

import re
import secrets
import string

from common.errors import GaiaError, InvalidInput
from common.names import NAME_PATTERN
from sessions.drivers.tmux_errors import NOTHING_WRITTEN, NotSubmitted, PaneDead, PaneInMode, PaneMissing, TmuxError
from sessions.drivers.tmux_facts import GAIA_ID, PROCESS
from sessions.drivers.tmux_script import command

# Removed from text: C0 except newline and tab, DEL, C1 (U+009B is a CSI of its own), lone surrogates, and the marks
# that change writing direction, with which text shows something else than it is.
_REMOVED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LETTERS = string.ascii_lowercase
KEYS = frozenset(
    (
        "Enter", "Escape", "Tab", "BTab", "Space", "BSpace", "Up", "Down", "Left", "Right", "Home", "End",
        "PageUp", "PageDown", "PPage", "NPage", "IC", "DC", "Insert", "Delete",
        *(f"F{number}" for number in range(1, 13)),
        *(f"C-{letter}" for letter in _LETTERS), *(f"M-{letter}" for letter in _LETTERS),
        *(f"M-{digit}" for digit in string.digits),
        "C-Space", "C-Up", "C-Down", "C-Left", "C-Right", "M-Enter", "S-Tab", "S-Up", "S-Down", "S-Left", "S-Right",
    )
)  # fmt: skip
_TMUX_NAMES = {"Insert": "IC", "Delete": "DC", "S-Tab": "BTab"}

TYPED_LIMIT = 4_096  # characters; longer text, or text of several lines, is pasted
TEXT_LIMIT = 2_000_000  # bytes that were seen to pass in one piece
_PANE = re.compile(rf"%\d+|={NAME_PATTERN}:")
_ID = re.compile(r"[%@]\d+")
_PROCESS = re.compile(r"\d+/\d+/-?\d+")
_GAIA_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEAD, _MODE, _OTHER, _SENT = "gaia-dead", "gaia-mode", "gaia-other", "gaia-sent"


def check_pane(target: str) -> str:
    """A pane target that names exactly one pane: an id like `%3`, or `=NAME:`; tmux guesses with anything else.

    Raises: InvalidInput.
    """
    if not _PANE.fullmatch(target):
        raise InvalidInput(f"{target!r} is not a pane", fix="Use the pane's id, such as %3, or =NAME:.")
    return target


def check_id(target: str) -> str:
    """The id of a window or pane, `@3` or `%3`: unlike a name, it never means another one later.

    Raises: InvalidInput.
    """
    if not _ID.fullmatch(target):
        raise InvalidInput(f"{target!r} is not the id of a window or pane", fix="Use an id such as @3 or %3.")
    return target


def check_key(key: str) -> str:
    """tmux's name of a key that may be pressed from outside.

    Raises: InvalidInput.
    """
    if key not in KEYS:
        raise InvalidInput(
            f"{key!r} is not a key that can be sent", fix="Use names such as Enter, Escape, Up, C-c, F1.", key=key
        )
    return _TMUX_NAMES.get(key, key)


def clean_text(text: str) -> str:
    """The text without what a terminal would obey: an embedded `ESC[201~` ends a paste, and the rest would be typed.

    Raises: InvalidInput when it is longer than 2 MB.
    """
    cleaned = _REMOVED.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if len(cleaned.encode()) > TEXT_LIMIT:
        raise InvalidInput(f"the text is longer than {TEXT_LIMIT} bytes", fix="Put it into a file and name the file.")
    return cleaned


def text_commands(target: str, text: str) -> list[str]:
    """The tmux commands that put cleaned text into a pane: typed when short, else pasted, in brackets if asked for."""
    if not text:
        return []
    if "\n" not in text and len(text) <= TYPED_LIMIT:
        return [command("send-keys", "-l", "-t", target, "--", text)]
    buffer = f"gaia-{secrets.token_hex(8)}"
    return [
        command("set-buffer", "-b", buffer, "--", text),
        command("paste-buffer", "-p", "-d", "-b", buffer, "-t", target),
    ]


def key_commands(target: str, *keys: str) -> list[str]:
    """The tmux commands that press keys, by their checked names."""
    return [command("send-keys", "-t", target, check_key(key)) for key in keys]


def guarded(target: str, commands: list[str], gaia_id: str = "", process: str = "") -> str:
    """A script line that runs the commands only while a living program reads the pane, and says what it found.

    tmux judges and acts in one step: nobody can enter copy mode, and no program end, between the two.

    Args:
        gaia_id: the mark the pane must have; a pane's number is another's once tmux was started again.
        process: server and process it must be of, as `tmux_facts.PROCESS` gives them, for a pane without mark.
    """
    act = " ; ".join((*commands, command("display-message", "-p", _SENT)))
    unless_mode = _unless(target, "#{pane_in_mode}", _MODE, act)
    unless_dead = _unless(target, "#{pane_dead}", _DEAD, unless_mode)
    if process:
        return _unless(target, f"#{{!=:{PROCESS},{check_process(process)}}}", _OTHER, unless_dead)
    return _unless(target, f"#{{!=:#{{{GAIA_ID}}},{gaia_id}}}", _OTHER, unless_dead) if gaia_id else unless_dead


def check_answer(answer: str, target: str) -> None:
    """Whether tmux ran what `guarded` asked for.

    Raises: PaneDead, PaneInMode, PaneMissing: nothing was written; TmuxError when that is not known.
    """
    if answer == _DEAD:
        raise PaneDead(
            "the program in this pane has ended",
            meaning="Nothing reads what is written there, so nothing was written.",
            fix="Start the session again.",
            pane=target,
        )
    if answer == _MODE:
        raise PaneInMode(
            "somebody is scrolling in this pane",
            meaning="tmux would take the keys for its own, so nothing was written.",
            fix="Press q in the pane, then try again.",
            pane=target,
        )
    if answer == _OTHER:
        raise missing_pane(target)
    if answer != _SENT:
        raise TmuxError(f"tmux did not confirm that it wrote into pane {target}: {answer[:120]!r}")


def check_gaia_id(gaia_id: str) -> str:
    """The mark of a pane, if it can stand in a condition of tmux's; empty for any pane.

    Raises: InvalidInput.
    """
    if gaia_id and not _GAIA_ID.fullmatch(gaia_id):
        raise InvalidInput(f"{gaia_id!r} is not the id of a session's pane")
    return gaia_id


def check_process(process: str) -> str:
    """Server and process of a pane as `tmux_facts.PROCESS` gives them, if they can stand in a condition of tmux's.

    Raises: InvalidInput.
    """
    if not _PROCESS.fullmatch(process):
        raise InvalidInput(f"{process!r} is not the process of a pane")
    return process


def missing_pane(target: str) -> PaneMissing:
    """The error for a pane that tmux does not have, or that is another session's by now."""
    return PaneMissing(f"there is no pane {target}", fix="`gaia --group-status` shows what runs.", pane=target)


def _unless(target: str, condition: str, answer: str, act: str) -> str:
    say = command("display-message", "-p", answer)
    return command("if-shell", "-F", "-t", target, condition) + f" {{ {say} }} {{ {act} }}"


def not_submitted(target: str, error: GaiaError) -> NotSubmitted:
    """The error for an Enter that failed after its text was written."""
    sure = isinstance(error, NOTHING_WRITTEN)
    return NotSubmitted(
        f"the text was typed, but {'Enter was not pressed' if sure else 'perhaps not Enter'}: {error.what}",
        meaning="It was not submitted." if sure else "It was submitted, or stands in the pane and waits.",
        fix="Look at the screen. If the text stands there, press only Enter: sent again, it would be there twice.",
        pane=target,
    )

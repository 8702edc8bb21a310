"""Writing tmux's command language.

GAIA talks to tmux in scripts on standard input (`tmux source-file -`, tmux ≥ 3.1): one connection for any number of
commands, no limit of 16,347 bytes as for arguments, nothing in the list of processes that others could read, and each
line stands for itself: a command that fails stops the rest of its line only.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.errors import InvalidInput

# In double quotes tmux reads \ooo, \n, $VARIABLE and a leading ~; inside them nothing else is special.
_ESCAPES = {chr(code): f"\\{code:03o}" for code in (*range(1, 32), 127)}
_ESCAPES |= {"\\": "\\\\", '"': '\\"', "$": "\\$", "~": "\\176", "\n": "\\n"}
_TABLE = str.maketrans(_ESCAPES)


def quote(word: str) -> str:
    """The word as one argument that tmux reads back to the byte.

    Raises: InvalidInput when it holds a NUL or is not valid Unicode, which no argument can carry.
    """
    check_text(word)
    return '"' + word.translate(_TABLE) + '"'


def check_text(text: str, *, what: str = "the text") -> str:
    """The text unchanged, if a process can be given it.

    Raises: InvalidInput.
    """
    if "\0" in text:
        raise InvalidInput(f"{what} contains a NUL character", fix="Remove it: no program can be given one.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} is not valid Unicode: {text!r}", fix="Use a name that is valid UTF-8.") from None
    return text


def command(*words: str) -> str:
    """One tmux command: its name and arguments, quoted."""
    name, *arguments = words
    return " ".join((name, *map(quote, arguments)))


def line(*commands: str) -> str:
    """Commands of which each runs only when the ones before it did not fail."""
    return " ; ".join(commands)


def script(lines: Iterable[str]) -> str:
    """Lines that run one after the other whatever happens to their neighbours."""
    return "\n".join(lines) + "\n"


def literal_format(text: str) -> str:
    """Text for an argument in which tmux expands `#{…}` and, worse, runs `#(…)`.

    Raises: InvalidInput for `#[`, which tmux offers no way to escape.
    """
    if "#[" in text:
        raise InvalidInput(
            f"{text!r} contains '#['", meaning="tmux reads it as a style and would lose it.", fix="Rename it."
        )
    return text.replace("#", "##")

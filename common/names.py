"""Names that people give to things and that end up in paths, branches, tmux targets and URLs."""

from __future__ import annotations

import re
import unicodedata

from common.errors import InvalidInput

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_NAME = re.compile(NAME_PATTERN)


def check_name(name: str, *, what: str = "name") -> str:
    """The name unchanged, if it is safe everywhere GAIA uses it.

    Letters, digits, `_` and `-`, starting with a letter or digit, at most 64: tmux rewrites `.` and `:`,
    git refuses `..`, shells split at spaces, and paths climb with `/`.

    Raises: InvalidInput that says what is wrong and proposes a name.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    proposal = slugify(str(name))
    raise InvalidInput(
        f"{name!r} is not a valid {what}",
        meaning="A name has letters, digits, '_' and '-', starts with a letter or digit and has at most 64.",
        fix=f"Use {proposal!r}." if proposal else "Choose another name.",
        name=str(name),
    )


def slugify(text: str) -> str:
    """A valid name made from any text, or an empty string when nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-_")[:64].strip("-_")

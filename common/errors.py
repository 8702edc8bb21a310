"""Errors that reach people: what happened, what it means, what to do.

Every door turns a `GaiaError` into its own form: the CLI into three lines on stderr and `exit_code`,
the API into RFC 9457 problem details with `status`, the console into a message.
"""

from __future__ import annotations

from typing import Any


class GaiaError(Exception):
    """A failure that was foreseen.

    Args:
        what: what happened, one sentence without a full stop.
        meaning: what that means for the operator; may be empty.
        fix: what to do about it; may be empty.
        detail: machine-readable facts (paths, ports, holders), shown by the API.
    """

    code = "error"
    exit_code = 1
    status = 500

    def __init__(self, what: str, *, meaning: str = "", fix: str = "", **detail: Any) -> None:
        super().__init__(what)
        self.what = what
        self.meaning = meaning
        self.fix = fix
        self.detail = detail

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-ready data: `{code, what, meaning, fix, detail}`."""
        return {
            "code": self.code,
            "what": self.what,
            "meaning": self.meaning,
            "fix": self.fix,
            "detail": self.detail,
        }


class InvalidInput(GaiaError):
    """The request itself is wrong: nothing was done."""

    code = "invalid_input"
    exit_code = 2
    status = 400


class NotFound(GaiaError):
    """What was named does not exist."""

    code = "not_found"
    exit_code = 3
    status = 404


class Conflict(GaiaError):
    """What was asked for collides with something that is there: a path, a port, another run."""

    code = "conflict"
    exit_code = 4
    status = 409


class Refused(GaiaError):
    """A rule or a permission forbids it."""

    code = "refused"
    exit_code = 5
    status = 403


class Unavailable(GaiaError):
    """Something GAIA needs is missing or does not answer: tmux, git, a disk with space, the daemon."""

    code = "unavailable"
    exit_code = 6
    status = 503


class Cancelled(GaiaError):
    """Somebody asked for it to stop, and it did."""

    code = "cancelled"
    exit_code = 7
    status = 409

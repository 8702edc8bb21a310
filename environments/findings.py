"""What a look at an environment finds: plain data, made by the checks of every room and shown by every door."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from environments.states import Verdict

_RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}  # the enum is in order, best first
_UNITS = ((1024**4, "TB"), (1024**3, "GB"), (1024**2, "MB"), (1024, "KB"))


@dataclass(frozen=True)
class Finding:
    """One thing that a check says of an environment.

    Args:
        check: which check says it: directory, git, stages, databases ….
        verdict: how bad it is; `ok` for what is as it should be, and for notes.
        what: what was found, one sentence without a full stop.
        meaning: what that means for the operator.
        fix: the exact command that mends it, or what to do where there is none.
        fault: names the fault in one word, whatever its numbers are: the same fault is the same finding next time.
        about: which of several it concerns: a stage, a session.
        passing: it may be over in a moment, so a schedule lets it count only when it was seen several times in a row.
        note: worth telling, though nothing is wrong.
        data: facts for programs, such as sizes in bytes.
    """

    check: str
    verdict: Verdict
    what: str
    meaning: str = ""
    fix: str = ""
    fault: str = ""
    about: str = ""
    passing: bool = False
    note: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """By which it is known again: `databases.damaged/qa`."""
        return f"{self.check}.{self.fault or 'ok'}" + (f"/{self.about}" if self.about else "")

    def as_dict(self) -> dict[str, Any]:
        """The finding as it is stored and as every door shows it."""
        told: dict[str, Any] = {
            "check": self.check,
            "key": self.key,
            "verdict": str(self.verdict),
            "what": self.what,
            "meaning": self.meaning,
            "fix": self.fix,
            "note": self.note,
        }
        return {**told, **({"data": dict(self.data)} if self.data else {})}


def well(check: str, what: str, **data: Any) -> Finding:
    """All that a check looked at is as it should be."""
    return Finding(check, Verdict.OK, what, data=data)


def not_known(check: str, why: str, *, fix: str = "") -> Finding:
    """A check could not find out."""
    return Finding(check, Verdict.UNKNOWN, f"{check}: {why}", fix=fix, fault="unknown", passing=True)


def rank(verdict: str) -> int:
    """How bad a verdict is; 0 is best."""
    return _RANK[Verdict(verdict)]


def worst(verdicts: Iterable[str]) -> Verdict:
    """Of several verdicts the worst; of none, `ok`."""
    return max((Verdict(verdict) for verdict in verdicts), key=rank, default=Verdict.OK)


def size_told(number: int) -> str:
    """Bytes for people: `12 KB`, `1.4 GB`."""
    for unit, name in _UNITS:
        if abs(number) >= unit:
            amount = number / unit
            return f"{amount:.1f} {name}" if abs(amount) < 10 else f"{amount:.0f} {name}"
    return f"{number} bytes"

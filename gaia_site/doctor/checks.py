"""What a check is, and when it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from environments.findings import Finding
from environments.states import Verdict


class Depth(StrEnum):
    """How much is looked at."""

    VERIFY = "verify"
    """Before a start, within two seconds"""
    USUAL = "usual"
    COMPREHENSIVE = "comprehensive"
    """Everything, the newest backups restored into a scratch place"""
    PRODUCTION = "production-ready"
    """`verify`, and what a machine that others reach must have"""
    PORTS = "ports"


class Needs(IntEnum):
    """What a check stands on; without it, it cannot be made, and the check of that says so."""

    NOTHING = 0
    CONNECTION = 1
    DATABASE = 2


EVERY = frozenset({Depth.VERIFY, Depth.USUAL, Depth.COMPREHENSIVE, Depth.PRODUCTION})
USUAL = frozenset({Depth.USUAL, Depth.COMPREHENSIVE})
THOROUGH = frozenset({Depth.COMPREHENSIVE})
PRODUCTION = frozenset({Depth.PRODUCTION, Depth.COMPREHENSIVE})
PORTS = frozenset({*EVERY, Depth.PORTS})


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        name: in its findings, too.
        run: says what it found; nothing at all is well, too.
        depths: when it is made.
        well: what is told when it found nothing.
    """

    name: str
    run: Callable[[], Iterable[Finding]]
    depths: frozenset[Depth] = EVERY
    needs: Needs = Needs.NOTHING
    well: str = ""


def failed(check: str, fault: str, what: str, meaning: str, fix: str, about: str = "") -> Finding:
    """Something does not work."""
    return Finding(check, Verdict.FAILED, what, meaning, fix, fault, about)


def warning(check: str, fault: str, what: str, meaning: str, fix: str, about: str = "") -> Finding:
    """Something works, and should be seen to."""
    return Finding(check, Verdict.WARNING, what, meaning, fix, fault, about)


def note(check: str, fault: str, what: str, meaning: str = "", about: str = "") -> Finding:
    """Worth knowing, though nothing is wrong."""
    return Finding(check, Verdict.OK, what, meaning, fault=fault, about=about, note=True)

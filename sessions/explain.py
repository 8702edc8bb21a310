"""What the agent in a session does, looked at just now, and what that is concluded from."""

from __future__ import annotations

import time
from typing import Any

from sessions.actions import control
from sessions.configured import screen_rules, shown_providers
from sessions.detection import Look, at_a_glance, shown
from sessions.drivers.pane_programs import RunningNames
from sessions.drivers.tmux import PaneFacts
from sessions.models import Session
from sessions.programs import agents_of, judge
from sessions.screens import read_screen

_SHOWN = 20  # lines of the screen


def explain(session: Session) -> dict[str, Any]:
    """A fresh verdict on a session's agent, and what was seen.

    Returns: as the API shows it: `age_s` is for how many seconds its window has been quiet, `screen` its lowest lines.
    Raises: Conflict when the session has ended or tmux no longer has it; TmuxError.
    """
    pane = control.pane_of(session)
    look = _look(session, pane)
    now = time.time()
    verdict = at_a_glance(screen_rules().get(session.provider, ()), look, now)
    return {
        "session": session.name,
        "provider": session.provider,
        **shown(verdict),
        "age_s": round(verdict.age(now), 1),
        "runs": look.runs,
        "command": pane.current_command,
        "title": pane.title,
        "screen": read_screen(look.text)[-_SHOWN:],
    }


def _look(session: Session, pane: PaneFacts) -> Look:
    known = shown_providers()
    names = RunningNames()
    program = judge(known.get(session.provider), pane.current_command, pane.pane_pid, names, agents_of(known))
    return Look(
        text=control.capture(session),
        title=pane.title,
        dead=pane.dead,
        runs=program.runs.value,
        command=pane.current_command,
        activity=float(pane.activity),
    )

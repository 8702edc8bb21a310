"""What runs in a pane, and whether it is what its provider should run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sessions.drivers.pane_programs import RunningNames
from sessions.providers import SYSTEM, Provider
from sessions.states import Runs

SHELLS = frozenset(
    ("sh", "ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "mksh", "nu", "pwsh", "tcsh", "xonsh", "yash", "zsh")
)
# Agents run in these, and some call themselves by their version: only their arguments tell.
_INTERPRETER = re.compile(r"node(?:js)?|bun|deno|python[\d.]*|MainThread|\d+(?:\.\d+)+")


@dataclass(frozen=True)
class Verdict:
    """What runs in a pane; `program` names the agent if one does, `reason` says why it is not the one it should be."""

    runs: Runs
    program: str
    reason: str


def agents_of(providers: Mapping[str, Provider]) -> dict[str, str]:
    """The agents' programs, each with the first provider that runs it."""
    found: dict[str, str] = {}
    for provider in providers.values():
        for program in provider.programs:
            found.setdefault(program, provider.name)
    return found


def judge(
    provider: Provider | None, command: str, pane_pid: int, names: RunningNames, agents: Mapping[str, str]
) -> Verdict:
    """What runs in a pane.

    Args:
        provider: whose agent should run there; None when that is not known.
        command: what has the foreground, as tmux names it.
        pane_pid: the pane's first process.
        names: of the processes in panes.
        agents: from `agents_of`.
    """
    command = command.removeprefix("-")
    wanted = provider.programs if provider else ()
    found = _agents_in(command, pane_pid, names, agents)
    fitting = [program for program in wanted if program in found]
    if fitting:
        return Verdict(Runs.AGENT, fitting[0], "")
    agent = min(found, default="")
    shell = command in SHELLS and not agent
    if provider is None or not wanted:
        return Verdict(Runs.AGENT if agent else Runs.SHELL if shell else Runs.OTHER, agent, "")
    if shell:
        told = f"{provider.name} should run here, but there is only a shell ({command})"
        return Verdict(Runs.SHELL, "", told)
    return Verdict(
        Runs.OTHER, agent, f"{provider.name} should run here, but {agent or command or 'something else'} does"
    )


def agent_program(command: str, provider: str) -> str:
    """What to call an agent that has the foreground: tmux only knows the program, which may be an interpreter."""
    return provider if command in SHELLS or _INTERPRETER.fullmatch(command) else command


def provider_of(detected: str, verdict: Verdict, agents: Mapping[str, str]) -> str:
    """The provider of a session that GAIA did not start: by its name, or by the agent where the name says nothing."""
    return agents.get(verdict.program, detected) if detected == SYSTEM else detected


def _agents_in(command: str, pane_pid: int, names: RunningNames, agents: Mapping[str, str]) -> set[str]:
    if command in agents:
        return {command}
    if command in SHELLS:
        # tmux calls a script by its shell
        return names.of_leader(pane_pid) & agents.keys() or names.of(pane_pid, beside_leader=True) & agents.keys()
    if _INTERPRETER.fullmatch(command):
        return names.of(pane_pid) & agents.keys()
    return set()

"""`gaia env git VERB`: the verbs that do something. What only looks is in git_look.py."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from common.errors import GaiaError, InvalidInput
from common.text import plain
from gaia_site.cli import pictures
from gaia_site.cli.ground import called_from, confirm, ready, say

if TYPE_CHECKING:
    from environments.actions.git import Told
    from environments.models import Environment
    from projects.models import Project

_SHOWN_NAMES = 5


def commit(arguments: Namespace) -> int:
    """Commit what was changed. Returns: the exit code."""
    environment = meant(arguments)
    from environments.actions import git

    message = "\n\n".join(arguments.message)
    return _tell(arguments, git.commit(environment, message, only_staged=arguments.staged))


def feature(arguments: Namespace) -> int:
    """Start a branch, or check out the one there is. Returns: the exit code."""
    environment = meant(arguments)
    from environments.actions import git

    return _tell(arguments, git.feature(environment, arguments.name, base=arguments.base))


def delete_branch(arguments: Namespace) -> int:
    """Delete a local branch. Returns: the exit code."""
    environment = meant(arguments)
    from environments.actions import git

    return _tell(arguments, git.delete_branch(environment, arguments.branch))


def pull(arguments: Namespace) -> int:
    """Bring in what others pushed, in one environment or in all. Returns: the exit code."""
    ready()
    from environments.actions import git

    return _each(arguments, lambda environment: git.pull(environment, rebase=arguments.rebase))


def sync(arguments: Namespace) -> int:
    """Bring in the source's default branch, in one environment or in all. Returns: the exit code."""
    ready()
    from environments.actions import git

    if arguments.all and not (arguments.proceed or arguments.abort):
        return _sync_all(arguments)
    return _each(arguments, lambda environment: git.sync(environment, rebase=arguments.rebase))


def _sync_all(arguments: Namespace) -> int:
    """The operation that fetches each project's source once. Returns: 0, or the exit code of the first error."""
    from environments.actions.git_rounds import projects_with_environments
    from projects.actions import find

    all_meant(arguments)
    round_ = _Round(arguments)
    for project in [find(arguments.project)] if arguments.project else projects_with_environments():
        names = {each.name: each.directory for each in all_meant(arguments) if each.project_id == project.pk}
        try:
            told = _synced(project, rebase=arguments.rebase)
        except GaiaError as error:
            round_.failed(error)
            told = error.detail.get("environments", {})
            if not told:
                round_.tell(project.name, {"outcome": "failed", "message": error.what, "fix": error.fix})
        for name, result in told.items():
            round_.tell(names.get(name, f"{project.name}-{name}"), result)
    return round_.end()


def _synced(project: Project, *, rebase: bool) -> dict[str, dict[str, Any]]:
    """What became of each environment of a project, by name. Raises: GaiaError, with the same in its detail."""
    from environments.actions.git_rounds import request_sync
    from gaia_site import platform
    from gaia_site.cli.following import finish

    detached = platform.daemon_runs()
    done = finish(request_sync(project, rebase=rebase, detached=detached), detached=detached)
    return dict(done.result["environments"])


def push(arguments: Namespace) -> int:
    """Push the branch, of one environment or of all. Returns: the exit code."""
    ready()
    from environments.actions import git

    return _each(arguments, lambda environment: git.push(environment, force=arguments.force_with_lease))


def rebase(arguments: Namespace) -> int:
    """Put the branch's commits on top of another one. Returns: the exit code."""
    ready()
    from environments.actions import git

    return _each(arguments, lambda environment: git.rebase(environment, onto=arguments.onto))


def proceed(arguments: Namespace) -> int:
    """Go on with the merge or rebase under way. Returns: the exit code."""
    environment = meant(arguments)
    from environments.actions import git

    return _tell(arguments, git.proceed(environment))


def abort(arguments: Namespace) -> int:
    """Give up the merge or rebase under way. Returns: the exit code."""
    environment = meant(arguments)
    from environments.actions import git

    return _tell(arguments, git.abort(environment))


def reset(arguments: Namespace) -> int:
    """Move the branch, or take back changes. Returns: the exit code."""
    environment = meant(arguments)
    from environments.actions import git, git_look

    if arguments.mode == "hard":
        lost = git_look.state(environment).dirty
        files = f" and throw away its {_so_many(lost, 'changed file')}" if lost else ""
        question = f"Reset {environment.directory} to {arguments.to}{files}? How it is now is kept in a snapshot."
        confirm(question, yes=arguments.yes)
    return _tell(arguments, git.reset(environment, to=arguments.to, mode=arguments.mode))


def clean(arguments: Namespace) -> int:
    """Remove untracked files, or merged branches. Returns: the exit code."""
    environment = meant(arguments)
    from environments.actions import git, git_look

    if arguments.branches:
        return _tell(arguments, git.clean_branches(environment))
    names = git_look.difference(environment).untracked
    if names:
        question = f"Remove {_so_many(len(names), 'untracked file')} of {environment.directory} ({_listed(names)})?"
        confirm(f"{question} A snapshot keeps them.", yes=arguments.yes)
    return _tell(arguments, git.clean(environment))


def meant(arguments: Namespace) -> Environment:
    """Django loaded, and the environment that is meant: the one named, or the one stood in.

    Raises: NotFound; Conflict when the name is not clear; InvalidInput when none was named and none is stood in.
    """
    ready()
    from environments.actions.git_look import environment_meant

    return environment_meant(arguments.environment, arguments.project, called_from())


def all_meant(arguments: Namespace) -> list[Environment]:
    """`meant`, or with --all every environment. Raises: as `meant`."""
    if not getattr(arguments, "all", False):
        return [meant(arguments)]
    ready()
    from environments.actions.git_look import live_environments

    if arguments.environment:
        _refuse_all(arguments, arguments.environment)
    return live_environments(arguments.project)


def _refuse_all(arguments: Namespace, word: str) -> None:
    if getattr(arguments, "all", False):
        raise InvalidInput(
            f"--all and {word} together are not clear", meaning="Nothing was done.", fix="Leave one of them away."
        )


def _each(arguments: Namespace, act: Callable[[Environment], Told]) -> int:
    """Do a verb, in one environment or in all: one that cannot does not keep the others from it.

    Returns: 0, or the exit code of the first error.
    """
    ends = proceed if getattr(arguments, "proceed", False) else abort if getattr(arguments, "abort", False) else None
    if ends:
        _refuse_all(arguments, "--continue" if ends is proceed else "--abort")
        return ends(arguments)
    environments = all_meant(arguments)
    if not getattr(arguments, "all", False):
        return _tell(arguments, act(environments[0]))
    from environments.actions.git_rounds import do_each

    round_ = _Round(arguments)
    for environment, result, error in do_each(environments, act):
        round_.tell(environment.directory, result)
        if error is not None:
            round_.failed(error)
    return round_.end()


class _Round:
    """What becomes of a verb in one environment after the other: a line each, or with --json a list at the end."""

    def __init__(self, arguments: Namespace) -> None:
        self._json = arguments.json
        self._told: list[dict[str, Any]] = []
        self._code = 0

    def tell(self, directory: str, result: dict[str, Any]) -> None:
        """Tell `{outcome, message, snapshot, files, fix}` of one."""
        self._told.append({"environment": directory, **result})
        if self._json:
            return
        well = result["outcome"] in ("done", "unchanged")
        sign = pictures.icon("ready" if well else "failed")
        print(f"{sign} {directory:<20} {plain(result['message'])}", flush=True)
        for line in [] if well else plain(result.get("fix", "")).splitlines():
            say(f"    {line}")

    def failed(self, error: GaiaError) -> None:
        """The first error's exit code is the round's."""
        self._code = self._code or error.exit_code

    def end(self) -> int:
        """Returns: the exit code."""
        if self._json:
            print(json.dumps(self._told))
        elif not self._told:
            print("No environments. Make some: gaia env setup")
        return self._code


def _tell(arguments: Namespace, told: Told) -> int:
    if arguments.json:
        print(json.dumps(told.as_dict()))
        return 0
    print(plain(told.message))
    if told.verb == "clean":
        for name in told.files:
            print(f"  {plain(name)}")
    if told.snapshot:
        say(f"  How it was before: gaia env snapshots restore {told.snapshot}")
    return 0


def _so_many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(plain(name) for name in names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"

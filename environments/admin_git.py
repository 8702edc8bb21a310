"""Git on the pages of an environment: its verbs as buttons, the diff, the log, the snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse

from common.errors import Conflict, GaiaError, InvalidInput
from environments import git_verbs
from environments.actions import git, git_look, git_rounds
from environments.actions.git_requests import newest_request
from environments.diff_page import shown_files
from environments.models import Environment
from events.console.verbs import done
from processes.models import Operation
from processes.states import OperationState

if TYPE_CHECKING:
    from events.console.admin import ConsoleAdmin as _Admin
else:
    _Admin = object

_COMMITS = 50
_MOST_COMMITS = 1000
_OFFERED_COMMITS = 15


class GitPages(_Admin):
    """What EnvironmentAdmin has for git."""

    def git_urls(self) -> list[URLPattern]:
        """Addresses below an environment's own."""
        pages = (("diff", self.diff_view), ("log", self.log_view), ("snapshots", self.snapshots_view))
        return [
            *(
                self.verb(f"<int:pk>/git/{name}/", view, name=f"git_{name}", post_only=False)
                for name, view in pages
            ),
            self.verb("git/sync/", self.sync_all_view, name="git_sync_all"),
            self.verb("<int:pk>/git/<str:verb>/", self.git_view, name="git"),
        ]  # fmt: skip

    def git_view(self, request: HttpRequest, pk: int, verb: str) -> HttpResponse:
        """Do a verb, or ask for it as an operation."""
        environment: Environment = self.find(request, pk)
        options = git_verbs.find_verb(verb).options(data=request.POST)
        if not options.is_valid():
            raise _invalid(options.errors)
        done_now = git_verbs.do_verb(verb, environment, options.validated_data)
        if isinstance(done_now, Operation):
            message = f"{done_now.title} was asked for."
        else:
            message = f"{done_now.message}." + (" A snapshot keeps how it was." if done_now.snapshot else "")
        return done(request, message, back=page_of(environment))

    def sync_all_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for a sync of all environments of every project."""
        asked: list[Operation] = []
        busy: GaiaError = InvalidInput("there is no environment to sync", fix="Set some up first.")
        for project in git_rounds.projects_with_environments():
            try:
                asked.append(git_rounds.request_sync(project))
            except Conflict as raised:
                busy = raised
        if not asked:
            raise busy
        page = "change" if len(asked) == 1 else "changelist"
        go = reverse(f"admin:processes_operation_{page}", args=[asked[0].pk] if len(asked) == 1 else [])
        return done(request, "", go=go, back="")

    def diff_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What differs: changes, staged, the branch, one commit, or what a snapshot holds."""
        environment: Environment = self.find(request, pk)
        asked = {name: request.GET.get(name, "")[:200] for name in ("against", "commit", "snapshot")}
        context: dict[str, Any] = {"environment": environment, "title": f"Diff of {environment.directory}"}
        try:
            context |= _difference(environment, asked)
        except GaiaError as raised:
            context |= {"error": raised, "choices": _choices(environment, "", "")}
        return self.page(request, "gaia/environments/diff.html", context)

    def log_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The commits of the branch that is checked out."""
        environment: Environment = self.find(request, pk)
        own = "own" in request.GET
        limit = min(_number(request.GET.get("limit", "")) or _COMMITS, _MOST_COMMITS)
        context: dict[str, Any] = {"environment": environment, "title": f"Log of {environment.directory}", "own": own}
        try:
            since = git_look.state(environment).upstream if own else ""
            found = git_look.commits(environment, limit=limit + 1, since=since)
            more = len(found) > limit and limit < _MOST_COMMITS
            query = urlencode({**({"own": ""} if own else {}), "limit": limit * 2})
            context |= {"commits": found[:limit], "more": f"?{query}" if more else ""}
        except GaiaError as raised:
            context["error"] = raised
        return self.page(request, "gaia/environments/log.html", context)

    def snapshots_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """How it was before verbs that could lose work, each to look at and to restore."""
        environment: Environment = self.find(request, pk)
        context: dict[str, Any] = {"environment": environment, "title": f"Snapshots of {environment.directory}"}
        try:
            context["snapshots"] = git.list_snapshots(environment.project, environment)
        except GaiaError as raised:
            context["error"] = raised
        return self.page(request, "gaia/environments/snapshots.html", context)


def git_context(environment: Environment) -> dict[str, Any]:
    """What the panel on an environment's page shows; looked up only where it is shown."""
    return {
        "git_now": lambda: git_look.state(environment),
        "git_request": lambda: _shown_request(environment),
        "git_live_on": f"{environment.key} operation.",
    }


def page_of(environment: Environment) -> str:
    """The environment's own page."""
    return reverse("admin:environments_environment_change", args=[environment.pk])


def _shown_request(environment: Environment) -> Operation | None:
    """The last sync or push while it runs, and afterwards if it failed; conflicts are shown as what they are."""
    found = newest_request(environment)
    if found is None or found.active:
        return found
    failed = found.state == OperationState.FAILED and (found.error or {}).get("code") != "git_conflicts"
    return found if failed else None


def _difference(environment: Environment, asked: dict[str, str]) -> dict[str, Any]:
    about: dict[str, Any] = {}
    recent = git_look.commits(environment, limit=_OFFERED_COMMITS)
    against = ""
    if asked["snapshot"]:
        about["snapshot"], diff = git_look.snapshot_difference(environment.project, asked["snapshot"])
    elif asked["commit"]:
        diff = git_look.commit_difference(environment, asked["commit"])
        about["commit"] = next((each for each in recent if each.id.startswith(asked["commit"])), None)
    else:
        against = asked["against"] or "changes"
        diff = git_look.difference(environment, against=against)
    return {
        **about,
        "diff": diff,
        "files": shown_files(diff),
        "against": against,
        "shown_commit": asked["commit"],
        "choices": _choices(environment, against, asked["commit"]),
        "recent": recent,
    }


def _choices(environment: Environment, against: str, commit: str) -> list[dict[str, Any]]:
    told = (
        ("changes", "Changes", "Files against the last commit"),
        ("staged", "Staged", "What is in the index"),
        ("branch", "Branch", f"Commits and files since it left {environment.project.default_branch}"),
    )
    return [
        {"title": title, "hint": hint, "url": f"?against={key}", "current": against == key and not commit}
        for key, title, hint in told
    ]


def _invalid(errors: Any) -> InvalidInput:
    name, told = next(iter(errors.items()))
    return InvalidInput(f"{name}: {told[0]}".rstrip("."), meaning="Nothing was done.", fix="Fill it in and try again.")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0

"""`/api/environments/NAME/git/`: what git says of an environment, and the verbs.

A verb that only touches this machine's disks answers when it is done. `sync` and `push` may reach a source over the
network: they answer 202 with the operation to follow.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import ViewSet

from environments import git_verbs as verbs
from environments.actions import git, git_look, git_rounds
from environments.actions.stages import find_environment
from environments.git_overview import describe_commit, describe_diff, describe_snapshot, describe_status
from processes.api import IDEMPOTENCY_KEY, OperationSerializer
from processes.models import Operation
from projects.actions import find

_MOST_COMMITS = 1000


class GitStatusSerializer(serializers.Serializer[dict[str, Any]]):
    environment = serializers.CharField()
    project = serializers.CharField()
    path = serializers.CharField()
    branch = serializers.CharField(help_text="Empty when detached")
    head = serializers.CharField()
    upstream = serializers.CharField(help_text="What ahead and behind count against: origin/main")
    ahead = serializers.IntegerField()
    behind = serializers.IntegerField()
    staged = serializers.IntegerField()
    unstaged = serializers.IntegerField()
    untracked = serializers.IntegerField()
    conflicts = serializers.IntegerField()
    conflict_files = serializers.ListField(child=serializers.CharField())
    dirty = serializers.IntegerField(help_text="Files that differ from the last commit")
    detached = serializers.BooleanField()
    in_progress = serializers.CharField(help_text="merge, rebase, cherry-pick, revert or bisect that waits for its end")
    error = serializers.CharField(help_text="Why nothing else is known")


class CommitSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.CharField()
    short = serializers.CharField()
    author = serializers.CharField()
    at = serializers.DateTimeField()
    refs = serializers.ListField(child=serializers.CharField(), help_text="Branches and tags that point to it")
    subject = serializers.CharField(help_text="First line of its message")


class DiffLineSerializer(serializers.Serializer[dict[str, Any]]):
    kind = serializers.ChoiceField(choices=["context", "added", "removed"])
    old = serializers.IntegerField(allow_null=True, help_text="Its number before")
    new = serializers.IntegerField(allow_null=True, help_text="Its number now")
    text = serializers.CharField()


class DiffHunkSerializer(serializers.Serializer[dict[str, Any]]):
    # every serializer has an attribute of this name; REST framework collects fields before anything is overridden
    context = serializers.CharField(help_text="The function or heading it is in")  # type: ignore[assignment]
    lines = DiffLineSerializer(many=True)


class DiffFileSerializer(serializers.Serializer[dict[str, Any]]):
    path = serializers.CharField()
    old_path = serializers.CharField(help_text="Its name before, when that was another one")
    kind = serializers.ChoiceField(choices=["modified", "added", "deleted", "renamed", "copied", "mode"])
    binary = serializers.BooleanField()
    added = serializers.IntegerField()
    removed = serializers.IntegerField()
    truncated = serializers.IntegerField(required=False, help_text="Further lines that are not in the answer")
    hunks = DiffHunkSerializer(many=True, required=False)


class DiffSerializer(serializers.Serializer[dict[str, Any]]):
    against = serializers.CharField()
    added = serializers.IntegerField()
    removed = serializers.IntegerField()
    files = DiffFileSerializer(many=True)
    left_out = serializers.IntegerField(help_text="Further files that are not in the answer")
    untracked = serializers.ListField(child=serializers.CharField())


class SnapshotSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField()
    environment = serializers.CharField()
    reason = serializers.CharField(help_text="The verb it was taken for")
    actor = serializers.CharField()
    taken_at = serializers.DateTimeField()
    branch = serializers.CharField()
    head = serializers.CharField(help_text="The commit that was checked out")
    commit = serializers.CharField(help_text="The snapshot itself, in the shape of a stash entry")
    files = serializers.IntegerField(help_text="Files that were in no commit")


class ToldSerializer(serializers.Serializer[dict[str, Any]]):
    environment = serializers.CharField()
    verb = serializers.CharField()
    changed = serializers.BooleanField(help_text="Whether anything is different now")
    message = serializers.CharField()
    branch = serializers.CharField()
    before = serializers.CharField(help_text="The commit that was checked out before")
    after = serializers.CharField()
    snapshot = serializers.CharField(help_text="Taken before; empty when nothing could be lost")
    files = serializers.ListField(child=serializers.CharField())


class SyncAllSerializer(serializers.Serializer[dict[str, Any]]):
    project = serializers.CharField(required=False, help_text="Default the only one there is")
    names = serializers.ListField(
        child=serializers.CharField(), required=False, allow_empty=False, help_text="Default: all of the project"
    )
    merges = serializers.BooleanField(
        default=True, help_text="Off: branches and files stay, and only get to know what is new"
    )
    rebase = serializers.BooleanField(default=False, help_text="Rebase instead of merge")


class LogQuerySerializer(serializers.Serializer[dict[str, Any]]):
    limit = serializers.IntegerField(default=30, min_value=1, max_value=_MOST_COMMITS)
    since = serializers.CharField(default="", allow_blank=True, max_length=200)


class DiffQuerySerializer(serializers.Serializer[dict[str, Any]]):
    against = serializers.CharField(default="changes", max_length=200)
    commit = serializers.CharField(default="", allow_blank=True, max_length=200)
    stat = serializers.BooleanField(default=False)


_ID = OpenApiParameter("id", str, OpenApiParameter.PATH, description="shop-dev1 or dev1")
_LOG_QUERY = [
    OpenApiParameter("limit", int, description=f"How many, 1 to {_MOST_COMMITS}; default 30"),
    OpenApiParameter("since", str, description="Leave out those that this branch or commit has"),
]
_DIFF_QUERY = [
    OpenApiParameter(
        "against", str,
        description="changes (files against the last commit), staged, branch (since it left the default branch), or a "
        "commit",
    ),
    OpenApiParameter("commit", str, description="What this commit changed, instead"),
    OpenApiParameter("stat", bool, description="Only the files with their counts"),
]  # fmt: skip


class GitViewSet(ViewSet):
    """Git of one environment."""

    @extend_schema(responses=GitStatusSerializer, parameters=[_ID])
    @action(detail=False)
    def status(self, request: Request, id: str) -> Response:  # noqa: A002 - the name of the path's parameter
        """Branch, ahead and behind, changes, and what is under way, asked of git now."""
        environment = find_environment(id)
        return Response(describe_status(environment, git_look.state(environment)))

    @extend_schema(responses=CommitSerializer(many=True), parameters=[_ID, *_LOG_QUERY])
    @action(detail=False)
    def log(self, request: Request, id: str) -> Response:  # noqa: A002
        """The commits of the branch that is checked out, newest first."""
        query = _valid(LogQuerySerializer, request.query_params)
        return Response([describe_commit(each) for each in git_look.commits(find_environment(id), **query)])

    @extend_schema(responses=DiffSerializer, parameters=[_ID, *_DIFF_QUERY])
    @action(detail=False)
    def diff(self, request: Request, id: str) -> Response:  # noqa: A002
        """What differs, line by line; at most 20,000 lines."""
        query = _valid(DiffQuerySerializer, request.query_params)
        environment = find_environment(id)
        if query["commit"]:
            found = git_look.commit_difference(environment, query["commit"])
        else:
            found = git_look.difference(environment, against=query["against"])
        return Response(describe_diff(found, lines=not query["stat"]))

    @extend_schema(responses=SnapshotSerializer(many=True), parameters=[_ID])
    @action(detail=False)
    def snapshots(self, request: Request, id: str) -> Response:  # noqa: A002
        """How it was before verbs that could lose work, newest first."""
        environment = find_environment(id)
        return Response([describe_snapshot(each) for each in git.list_snapshots(environment.project, environment)])

    @extend_schema(request=verbs.CommitOptionsSerializer, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"])
    def commit(self, request: Request, id: str) -> Response:  # noqa: A002
        """Commit what was changed, new files too; during a merge this ends it. The project's hooks run."""
        return _do("commit", request, id)

    @extend_schema(request=verbs.FeatureOptionsSerializer, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"])
    def feature(self, request: Request, id: str) -> Response:  # noqa: A002
        """Start a branch from the default branch and check it out, or check out the one there is."""
        return _do("feature", request, id)

    @extend_schema(request=verbs.DeleteBranchOptionsSerializer, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"], url_path="delete-branch")
    def delete_branch(self, request: Request, id: str) -> Response:  # noqa: A002
        """Delete a local branch; its commits are in a snapshot."""
        return _do("delete-branch", request, id)

    @extend_schema(
        request=verbs.BringInOptionsSerializer, responses={202: OperationSerializer}, parameters=[_ID, IDEMPOTENCY_KEY]
    )
    @action(detail=False, methods=["post"])
    def sync(self, request: Request, id: str) -> Response:  # noqa: A002
        """Fetch the source into the hub and bring its default branch in; answers with the operation to follow."""
        return _do("sync", request, id)

    @extend_schema(
        request=verbs.PushOptionsSerializer, responses={202: OperationSerializer}, parameters=[_ID, IDEMPOTENCY_KEY]
    )
    @action(detail=False, methods=["post"])
    def push(self, request: Request, id: str) -> Response:  # noqa: A002
        """Push to the hub, and on to the source when gaia.yaml says so; answers with the operation to follow."""
        return _do("push", request, id)

    @extend_schema(request=verbs.BringInOptionsSerializer, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"])
    def pull(self, request: Request, id: str) -> Response:  # noqa: A002
        """Bring in what others pushed to the same branch of the hub."""
        return _do("pull", request, id)

    @extend_schema(request=verbs.RebaseOptionsSerializer, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"])
    def rebase(self, request: Request, id: str) -> Response:  # noqa: A002
        """Put the branch's commits on top of the default branch, or of another one."""
        return _do("rebase", request, id)

    @extend_schema(request=verbs.ResetOptionsSerializer, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"])
    def reset(self, request: Request, id: str) -> Response:  # noqa: A002
        """Move the branch to a commit; how it was is in a snapshot."""
        return _do("reset", request, id)

    @extend_schema(request=None, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"])
    def clean(self, request: Request, id: str) -> Response:  # noqa: A002
        """Remove files that git neither knows nor ignores; they are in a snapshot."""
        return _do("clean", request, id)

    @extend_schema(request=None, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"], url_path="clean-branches")
    def clean_branches(self, request: Request, id: str) -> Response:  # noqa: A002
        """Delete the local branches that the default branch has all commits of; environments' own stay."""
        return _do("clean-branches", request, id)

    @extend_schema(request=None, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"], url_path="continue")
    def proceed(self, request: Request, id: str) -> Response:  # noqa: A002
        """Go on with the merge or rebase under way: files without conflict markers count as resolved."""
        return _do("continue", request, id)

    @extend_schema(request=None, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"])
    def abort(self, request: Request, id: str) -> Response:  # noqa: A002
        """Give up the merge or rebase under way; what was resolved so far is in a snapshot."""
        return _do("abort", request, id)

    @extend_schema(request=verbs.RestoreOptionsSerializer, responses=ToldSerializer, parameters=[_ID])
    @action(detail=False, methods=["post"])
    def restore(self, request: Request, id: str) -> Response:  # noqa: A002
        """Make it as it was in a snapshot; how it is now is in another one."""
        return _do("restore", request, id)


class GitOfAllViewSet(ViewSet):
    """Git of all environments of a project."""

    @extend_schema(
        operation_id="environments_git_sync_all",
        request=SyncAllSerializer,
        responses={202: OperationSerializer},
        parameters=[IDEMPOTENCY_KEY],
    )
    @action(detail=False, methods=["post"])
    def sync(self, request: Request) -> Response:
        """Fetch the source once and sync each environment; what is in the way in one stops no other."""
        wanted = _valid(SyncAllSerializer, request.data)
        project, names = find(wanted.pop("project", None)), wanted.pop("names", None)
        key = request.headers.get("Idempotency-Key")
        operation = git_rounds.request_sync(project, names, idempotency_key=key, **wanted)
        return Response(operation.as_dict(), status=status.HTTP_202_ACCEPTED)


def _valid(kind: type[serializers.Serializer[dict[str, Any]]], data: Any) -> dict[str, Any]:
    body = kind(data=data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)


def _do(name: str, request: Request, environment: str) -> Response:
    options = verbs.find_verb(name).options
    wanted = {} if options is verbs.NoOptionsSerializer else _valid(options, request.data)
    key = request.headers.get("Idempotency-Key")
    done = verbs.do_verb(name, find_environment(environment), wanted, idempotency_key=key)
    if isinstance(done, Operation):
        return Response(done.as_dict(), status=status.HTTP_202_ACCEPTED)
    return Response(done.as_dict())


router = SimpleRouter()
router.register("environments/git", GitOfAllViewSet, basename="environments-git")
router.register(r"environments/(?P<id>[A-Za-z0-9_-]+)/git", GitViewSet, basename="environment-git")
urlpatterns = router.urls

"""The verbs of git as the API and the console take them: what may be said with each, and the action that does it.

The command line has a grammar of its own (gaia_site/cli), in front of the same actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from common.errors import NotFound
from environments.actions import git
from environments.actions.git import Told
from environments.actions.git_requests import request_verb
from environments.models import Environment
from processes.models import Operation

_NAME = 200
_MESSAGE = 20_000


class NoOptionsSerializer(serializers.Serializer[dict[str, Any]]):
    """A verb with nothing to say."""


class CommitOptionsSerializer(serializers.Serializer[dict[str, Any]]):
    message = serializers.CharField(max_length=_MESSAGE, help_text="First line: what was done, in a few words")
    only_staged = serializers.BooleanField(default=False, help_text="Leave out what is not in the index")


class FeatureOptionsSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField(max_length=_NAME, help_text="`caching` makes feature/caching; with a slash as it is")
    base = serializers.CharField(
        max_length=_NAME, default="", allow_blank=True, help_text="Where it starts; default the default branch"
    )


class DeleteBranchOptionsSerializer(serializers.Serializer[dict[str, Any]]):
    branch = serializers.CharField(max_length=_NAME, help_text="A local branch that is not checked out")


class BringInOptionsSerializer(serializers.Serializer[dict[str, Any]]):
    rebase = serializers.BooleanField(default=False, help_text="Rebase instead of merge")


class RebaseOptionsSerializer(serializers.Serializer[dict[str, Any]]):
    onto = serializers.CharField(
        max_length=_NAME, default="", allow_blank=True, help_text="Branch or commit; default the default branch"
    )


class PushOptionsSerializer(serializers.Serializer[dict[str, Any]]):
    force = serializers.BooleanField(
        default=False, help_text="Replace what the hub has, if that is what the checkout last saw there"
    )


class ResetOptionsSerializer(serializers.Serializer[dict[str, Any]]):
    to = serializers.CharField(max_length=_NAME, default="HEAD", help_text="Branch, tag or commit")
    mode = serializers.ChoiceField(
        choices=["soft", "mixed", "hard"], default="mixed", help_text="hard resets the files, too"
    )


class RestoreOptionsSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField(max_length=_NAME, help_text="Of the snapshot: shop-dev1/20250131T120000Z")


@dataclass(frozen=True)
class Verb:
    """One verb: the serializer of its options, and its action; None when it is an operation."""

    options: type[serializers.Serializer[dict[str, Any]]]
    act: Callable[..., Told] | None = None


VERBS: dict[str, Verb] = {
    "commit": Verb(CommitOptionsSerializer, git.commit),
    "feature": Verb(FeatureOptionsSerializer, git.feature),
    "delete-branch": Verb(DeleteBranchOptionsSerializer, git.delete_branch),
    "sync": Verb(BringInOptionsSerializer),
    "push": Verb(PushOptionsSerializer),
    "pull": Verb(BringInOptionsSerializer, git.pull),
    "rebase": Verb(RebaseOptionsSerializer, git.rebase),
    "reset": Verb(ResetOptionsSerializer, git.reset),
    "clean": Verb(NoOptionsSerializer, git.clean),
    "clean-branches": Verb(NoOptionsSerializer, git.clean_branches),
    "continue": Verb(NoOptionsSerializer, git.proceed),
    "abort": Verb(NoOptionsSerializer, git.abort),
    "restore": Verb(RestoreOptionsSerializer, git.restore),
}


def find_verb(name: str) -> Verb:
    """Raises: NotFound."""
    if name not in VERBS:
        raise NotFound(f"git has no verb {name!r} here", fix=f"Verbs: {', '.join(VERBS)}.")
    return VERBS[name]


def do_verb(
    name: str, environment: Environment, options: Mapping[str, Any], *, idempotency_key: str | None = None
) -> Told | Operation:
    """Do a verb at once, or ask for it as an operation.

    Args:
        options: as the verb's serializer has validated them.

    Raises: NotFound for a verb that there is not; whatever the action raises.
    """
    verb = find_verb(name)
    if verb.act is None:
        return request_verb(environment, name, options, idempotency_key=idempotency_key)
    return verb.act(environment, **options)

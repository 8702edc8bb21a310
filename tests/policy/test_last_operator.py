"""Somebody can always sign in who may do everything: no door takes the last active operator away."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.test import Client

from common.errors import Conflict
from events.models import Event
from policy.actions import save_account
from policy.models import User
from tests.conftest import Operator

PEOPLE = "/admin/policy/user/"
RIGHTS = ("is_active", "is_staff", "is_superuser")


@pytest.fixture
def console(operator: Operator) -> Client:
    """The last operator's own browser."""
    client = Client()
    client.force_login(operator.user)
    return client


def fields_of(user: User, **changed: Any) -> dict[str, str]:
    """What the form sends: a box that is not ticked is not sent."""
    boxes = {right: getattr(user, right) for right in RIGHTS} | changed
    return {"username": user.username, **{right: "on" for right, ticked in boxes.items() if ticked}}


def is_operator(user: User) -> bool:
    user.refresh_from_db()
    return all(getattr(user, right) for right in RIGHTS)


@pytest.mark.parametrize("right", RIGHTS)
def test_the_action_refuses_it_and_says_what_to_do(operator: Operator, acting: str, right: str) -> None:
    setattr(operator.user, right, False)

    with pytest.raises(Conflict, match="operator is the last active operator") as refused:
        save_account(operator.user)

    assert "another account an operator first" in refused.value.fix
    assert is_operator(operator.user)
    assert not Event.objects.filter(kind="user.changed").exists()


@pytest.mark.parametrize("right", RIGHTS)
def test_whoever_cannot_sign_in_as_one_is_no_other_operator(operator: Operator, acting: str, right: str) -> None:
    other = User.objects.create_superuser("ada")
    setattr(other, right, False)
    other.save()
    operator.user.is_active = False

    with pytest.raises(Conflict):
        save_account(operator.user)

    assert is_operator(operator.user)


@pytest.mark.parametrize("right", RIGHTS)
def test_one_of_two_may_go(operator: Operator, acting: str, right: str) -> None:
    User.objects.create_superuser("ada")
    setattr(operator.user, right, False)

    save_account(operator.user)

    assert not is_operator(operator.user)


def test_accounts_that_are_no_operators_are_not_held_back(operator: Operator, acting: str) -> None:
    ada = User.objects.create_user("ada", is_staff=True)
    ada.is_active = False

    save_account(ada)

    ada.refresh_from_db()
    assert not ada.is_active


@pytest.mark.parametrize("right", RIGHTS)
def test_the_form_in_the_console(console: Client, operator: Operator, right: str) -> None:
    path = f"{PEOPLE}{operator.user.pk}/change/"

    answer = console.post(path, fields_of(operator.user, **{right: False}), follow=True)

    assert "operator is the last active operator" in answer.content.decode()
    assert is_operator(operator.user)
    User.objects.create_superuser("ada")
    assert console.post(path, fields_of(operator.user, **{right: False})).status_code == 302
    assert not is_operator(operator.user), "the form does change it: it was the guard that refused"


def test_nobody_is_deleted_in_the_console(console: Client, operator: Operator) -> None:
    ada = User.objects.create_superuser("ada")
    for user in (operator.user, ada):
        assert console.post(f"{PEOPLE}{user.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"_selected_action": [operator.user.pk, ada.pk], "post": "yes", "index": "0"}
    console.post(PEOPLE, {"action": "delete_selected", **chosen})
    assert is_operator(operator.user)
    assert is_operator(ada)
    request = console.get(PEOPLE).wsgi_request
    assert admin.site._registry[User].get_actions(request) == {}


def test_no_path_of_the_api_is_about_accounts() -> None:
    """One that comes has to go through `save_account`, and be tried here."""
    from drf_spectacular.generators import SchemaGenerator

    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    assert len(paths) > 20
    assert [path for path in paths if any(word in path for word in ("user", "people", "account", "policy"))] == []

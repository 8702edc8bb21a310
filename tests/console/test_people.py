"""Accounts and tokens: through the actions, with an event each."""

from __future__ import annotations

import pytest
from django.test import Client

from events.models import Event
from policy.models import Token, User
from tests.conftest import Operator

pytestmark = pytest.mark.django_db

PEOPLE = "/admin/policy/user/"
TOKENS = "/admin/policy/token/"
PASSWORD = "a-long-one-of-4-words"


def happened(kind: str) -> list[tuple[str, str]]:
    return list(Event.objects.filter(kind=kind).order_by("id").values_list("actor", "subject"))


def test_an_account_is_made_changed_and_switched_off(console: Client) -> None:
    made = {"username": "ada", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert console.post(f"{PEOPLE}add/", made).status_code == 302
    ada = User.objects.get(username="ada")
    assert ada.check_password(PASSWORD)
    assert happened("user.created")[-1] == ("user:operator", "user/ada")
    console.post(f"{PEOPLE}{ada.pk}/change/", {"username": "ada", "email": "ada@example.org", "is_staff": "on"})
    ada.refresh_from_db()
    assert (ada.email, ada.is_staff, ada.is_active) == ("ada@example.org", True, False)
    assert happened("user.changed") == [("user:operator", "user/ada")]
    assert console.post(f"{PEOPLE}{ada.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_last_operator_stays_one(console: Client, operator: Operator) -> None:
    fields = {"username": "operator", "is_active": "on", "is_staff": "on"}
    answer = console.post(f"{PEOPLE}{operator.user.pk}/change/", fields, follow=True)
    assert "operator is the last active operator" in answer.content.decode()
    operator.user.refresh_from_db()
    assert operator.user.is_superuser
    assert happened("user.changed") == []


def test_an_operator_gives_somebody_a_new_password(console: Client) -> None:
    ada = User.objects.create_user("ada", password="old")
    path = f"{PEOPLE}{ada.pk}/password/"
    weak = console.post(path, {"password1": "1234", "password2": "1234"})
    assert weak.status_code == 200
    assert console.post(path, {"password1": PASSWORD, "password2": PASSWORD}).status_code == 302
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)
    assert happened("user.password_changed") == [("user:operator", "user/ada")]


def test_ones_own_password(client: Client) -> None:
    ada = User.objects.create_user("ada", password="old-password", is_staff=True)
    client.force_login(ada)
    fields = {"old_password": "old-password", "new_password1": PASSWORD, "new_password2": PASSWORD}
    assert client.post("/admin/password_change/", fields).status_code == 302
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)
    assert happened("user.password_changed") == [("user:ada", "user/ada")]
    assert client.get("/admin/").status_code == 200, "one stays signed in where one changed it"


def test_staff_see_and_issue_only_their_own_tokens(client: Client, operator: Operator) -> None:
    ada = User.objects.create_user("ada", password="x", is_staff=True)
    client.force_login(ada)
    page = client.get(f"{TOKENS}issue/").content.decode()
    assert ">operator<" not in page.split("<form")[-1]
    refused = client.post(
        f"{TOKENS}issue/", {"name": "x", "user": operator.user.pk, "scope": "operate", "days": "1"}
    ).content.decode()
    assert "not one of the available choices" in refused
    assert (
        "shown this once"
        in client.post(
            f"{TOKENS}issue/", {"name": "mine", "user": ada.pk, "scope": "read", "days": "1"}
        ).content.decode()
    )
    assert [str(token) for token in client.get(TOKENS).context["cl"].result_list] == ["mine"]
    theirs = Token.objects.get(user=operator.user)
    assert client.post(f"{TOKENS}{theirs.pk}/revoke/").status_code == 404
    assert Token.objects.filter(pk=theirs.pk).exists()
    mine = Token.objects.get(user=ada)
    assert mine.scopes == ["read"]
    client.post(f"{TOKENS}{mine.pk}/revoke/")
    assert happened("token.revoked") == [("user:ada", "user/ada")]


def test_staff_cannot_change_accounts(client: Client, operator: Operator) -> None:
    ada = User.objects.create_user("ada", password="x", is_staff=True)
    client.force_login(ada)
    assert client.get(PEOPLE).status_code == 200
    assert client.get(f"{PEOPLE}add/").status_code == 403
    client.post(f"{PEOPLE}{ada.pk}/change/", {"username": "ada", "is_active": "on", "is_superuser": "on"})
    assert (
        client.post(f"{PEOPLE}{operator.user.pk}/password/", {"password1": PASSWORD, "password2": PASSWORD}).status_code
        == 403
    )
    ada.refresh_from_db()
    assert not ada.is_superuser

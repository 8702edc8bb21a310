"""People and their tokens: made once, stored as digests, revoked for good."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from common.errors import InvalidInput, NotFound
from events.models import Event
from policy.actions import ensure_operator, first_password, issue_token, revoke_tokens, set_password
from policy.models import Token, User
from tests.endpoints import client_of

GOOD = "correct horse battery"


def test_the_first_start_makes_an_operator_with_a_password_shown_once(db: None, acting: str) -> None:
    user = ensure_operator()
    assert (user.username, user.is_superuser, user.is_staff) == ("operator", True, True)
    password = first_password(user)
    assert password is not None
    assert len(password) >= 16
    user.refresh_from_db()
    assert user.check_password(password)
    assert first_password(ensure_operator()) is None
    assert User.objects.count() == 1
    assert password not in repr([*User.objects.values(), *Event.objects.values()])
    assert user.password.startswith("argon2")


def test_whoever_may_do_everything_is_the_operator(db: None, acting: str) -> None:
    ada = User.objects.create_superuser("ada")
    assert ensure_operator() == ada
    ada.is_active = False
    ada.save()
    assert ensure_operator().username == "operator"


def test_an_operator_who_lost_the_rights_gets_a_successor(db: None, acting: str) -> None:
    User.objects.create_user("operator")
    User.objects.create_user("operator2")
    assert ensure_operator().username == "operator3"


def test_a_new_password_signs_browsers_out(db: None, acting: str) -> None:
    user, browser = ensure_operator(), Client()
    browser.force_login(user)
    assert browser.get("/api/multi-env/health").status_code == 200
    assert set_password("operator", GOOD) == GOOD
    assert browser.get("/api/multi-env/health").status_code == 401
    assert Client().login(username="operator", password=GOOD)


@pytest.mark.parametrize("password", ["short", "password", "12345678901", "operator1"])
def test_weak_passwords_are_refused(db: None, acting: str, password: str) -> None:
    ensure_operator()
    with pytest.raises(InvalidInput, match="too weak") as caught:
        set_password("operator", password)
    assert caught.value.meaning
    assert caught.value.fix
    assert not User.objects.get().has_usable_password()


def test_nobodys_password(db: None, acting: str) -> None:
    with pytest.raises(NotFound, match="there is no account 'nobody'"):
        set_password("nobody", GOOD)


def test_a_token_is_stored_as_a_digest_and_acts_under_its_name(db: None, acting: str) -> None:
    text = issue_token(ensure_operator(), "ci")
    assert text.startswith("gaia_")
    stored = Token.objects.get()
    assert text not in repr([*Token.objects.values(), *Event.objects.values()])
    assert stored.scopes == ["read", "operate"]
    assert timedelta(days=89) < stored.expiry - timezone.now() <= timedelta(days=90)
    assert client_of(text).post("/api/environments/clean/", {}).status_code == 404  # let in: there is no project
    assert Event.objects.get(kind="token.issued").actor == acting


def test_scopes(db: None, acting: str) -> None:
    reader, nothing = (issue_token(ensure_operator(), "x", scopes=scopes) for scopes in (["read"], []))
    operator = issue_token(ensure_operator(), "x", scopes=["operate"])
    asked = [client_of(text).get("/api/multi-env/health").status_code for text in (reader, operator, nothing)]
    assert asked == [200, 200, 403]
    told = [client_of(text).post("/api/environments/clean/", {}).status_code for text in (reader, operator, nothing)]
    assert told == [403, 404, 403]
    with pytest.raises(InvalidInput, match="there is no scope admin"):
        issue_token(ensure_operator(), "x", scopes=["admin"])


def test_a_token_that_was_revoked_or_has_expired(db: None, acting: str) -> None:
    user = ensure_operator()
    first, second = issue_token(user, "ci"), issue_token(user, "ci")
    short = issue_token(user, "other", lifetime=timedelta(seconds=-1))
    assert client_of(short).get("/api/multi-env/health").status_code == 401
    assert revoke_tokens("ci") == 2
    assert [client_of(text).get("/api/multi-env/health").status_code for text in (first, second)] == [401, 401]
    assert revoke_tokens("ci") == 0
    assert Event.objects.filter(kind="token.revoked").count() == 1


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "two\nlines"])
def test_names_that_are_none(db: None, acting: str, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a token's name"):
        issue_token(ensure_operator(), name)


def test_whoever_sends_the_request_is_the_actor_of_what_it_writes(db: None, acting: str) -> None:
    from sessions.models import Session

    user = ensure_operator()
    browser, program = APIClient(), client_of(issue_token(user, "ci"))
    browser.force_login(user)
    actors = []
    for number, sender in enumerate((browser, program)):
        Session.objects.create(gaia_id=str(number), name="mine", group="other", provider="system", cwd="/")
        assert sender.delete("/api/orchestration/sessions/mine/").status_code == 204
        actors.append(Event.objects.filter(kind="session.stopped").latest("id").actor)
    assert actors == ["user:operator", "token:ci of operator"]

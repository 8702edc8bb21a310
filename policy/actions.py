"""Making people and tokens."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from common.errors import Conflict, InvalidInput, NotFound
from events import log
from policy.models import Scope, Token, User

OPERATOR = "operator"


def ensure_operator() -> User:
    """The first start's operator account; it has no password until `first_password` gives it one."""
    existing = User.objects.filter(is_superuser=True).order_by("pk").first()
    if existing is not None:
        return existing
    with log.atomic():
        user = User.objects.create_superuser(OPERATOR)
        log.emit(
            "user.created", subject=f"user/{user.username}", message=f"Operator account {user.username} was created"
        )
    return user


def first_password(user: User) -> str | None:
    """A random password for an account that never had one, to be shown once; None when it has one."""
    return None if user.has_usable_password() else set_password(user.username)


def set_password(username: str, password: str | None = None) -> str:
    """Give an account a new password and end its browser sessions.

    Args:
        username: whose.
        password: the new one; None makes a random one.

    Returns: the password in force. Raises: NotFound; InvalidInput when it is too weak.
    """
    user = User.objects.filter(username=username).first()
    if user is None:
        names = ", ".join(User.objects.order_by("username").values_list("username", flat=True)[:10])
        raise NotFound(
            f"there is no account {username!r}", fix=f"Accounts: {names}." if names else "Run gaia up first."
        )
    chosen = password or secrets.token_urlsafe(15)
    try:
        validate_password(chosen, user)
    except ValidationError as error:
        raise InvalidInput("the password is too weak", meaning=" ".join(error.messages)) from error
    with log.atomic():
        user.set_password(chosen)  # the session hash changes with it: browsers are signed out
        user.save(update_fields=["password"])
        log.emit("user.password_changed", subject=f"user/{username}", message=f"Password of {username} was changed")
    return chosen


def issue_token(user: User, name: str, *, scopes: list[str] | None = None, lifetime: timedelta | None = None) -> str:
    """Make a token and return its text, which is shown once and stored only as a digest.

    Args:
        lifetime: until it expires; None means the default of 90 days.
    """
    chosen = [Scope(scope).value for scope in scopes] if scopes else [Scope.READ.value, Scope.OPERATE.value]
    options: dict[str, Any] = {"expiry": lifetime} if lifetime else {}
    with log.atomic():
        _, text = Token.objects.create(user, name=name, scopes=chosen, **options)
        log.emit("token.issued", subject=f"user/{user.username}", message=f"Token {name} was issued", scopes=chosen)
    return str(text)


def revoke_tokens(name: str) -> int:
    """Revoke every token of that name; how many there were."""
    with log.atomic():
        count, _ = Token.objects.filter(name=name).delete()
        if count:
            log.emit("token.revoked", subject=f"token/{name}", message=f"Token {name} was revoked")
    return count


def revoke_token(token: Token) -> None:
    """Revoke one token: what uses it is refused from now on."""
    with log.atomic():
        token.delete()
        log.emit("token.revoked", subject=f"user/{token.user.username}", message=f"Token {token} was revoked")


def save_account(user: User) -> None:
    """Store an account as a form filled it in, new or changed.

    Raises: Conflict when nobody would be left who can sign in as operator.
    """
    is_new = user.pk is None
    operates = user.is_active and user.is_superuser
    others = User.objects.filter(is_active=True, is_superuser=True).exclude(pk=user.pk)
    if not is_new and not operates and not others.exists():
        raise Conflict(
            f"{user.username} is the last active operator",
            meaning="Nobody could change accounts any more.",
            fix="Make another account an operator first.",
        )
    told = "created" if is_new else "changed"
    with log.atomic():
        user.save()
        log.emit(f"user.{told}", subject=f"user/{user.username}", message=f"Account {user.username} was {told}")

"""Making people and tokens."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import QuerySet

from common.errors import Conflict, InvalidInput, NotFound
from events import log
from policy.models import Scope, Token, User

OPERATOR = "operator"
_LONGEST_NAME = 100


def ensure_operator() -> User:
    """The operator's account: the oldest that may do everything, made at the first start.

    It has no password until `first_password` gives it one.
    """
    existing = _operators().first()
    if existing is not None:
        return existing
    try:
        with log.atomic():
            user = User.objects.create_superuser(_free_username())
            log.emit(
                "user.created", subject=f"user/{user.username}", message=f"Operator account {user.username} was created"
            )
    except IntegrityError:  # another start was faster
        return _operators()[0]
    return user


def _operators() -> QuerySet[User]:
    return User.objects.filter(is_superuser=True, is_staff=True, is_active=True).order_by("pk")


def _free_username() -> str:
    """`operator`, or with a number when somebody took the rights of that account away."""
    taken = set(User.objects.filter(username__startswith=OPERATOR).values_list("username", flat=True))
    names = (OPERATOR if number == 1 else f"{OPERATOR}{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


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
        fix = "Choose a longer one that is not common, or have one made: gaia passwd --random."
        raise InvalidInput("the password is too weak", meaning=" ".join(error.messages), fix=fix) from error
    with log.atomic():
        user.set_password(chosen)  # the session hash changes with it: browsers are signed out
        user.save(update_fields=["password"])
        log.emit("user.password_changed", subject=f"user/{username}", message=f"Password of {username} was changed")
    return chosen


def issue_token(user: User, name: str, *, scopes: list[str] | None = None, lifetime: timedelta | None = None) -> str:
    """Make a token and return its text, which is shown once and stored only as a digest.

    Args:
        name: what it is for, at most 100 characters; several may share one and are revoked together.
        scopes: of `Scope`; None means all.
        lifetime: until it expires; None means the default of 90 days.

    Raises: InvalidInput for a name that is none, or an unknown scope.
    """
    if not 1 <= len(name.strip()) <= _LONGEST_NAME or not name.isprintable():
        raise InvalidInput(
            f"{name[:120]!r} cannot be a token's name", fix=f"Use one line of at most {_LONGEST_NAME} characters."
        )
    unknown = set(scopes or []) - set(Scope.values)
    if unknown:
        raise InvalidInput(f"there is no scope {', '.join(sorted(unknown))}", fix=f"Scopes: {', '.join(Scope.values)}.")
    chosen = [scope for scope in Scope.values if scopes is None or scope in scopes]
    options: dict[str, Any] = {"expiry": lifetime} if lifetime else {}
    with log.atomic():
        _, text = Token.objects.create(user, name=name, scopes=chosen, **options)
        log.emit("token.issued", subject=f"user/{user.username}", message=f"Token {name} was issued", scopes=chosen)
    return str(text)


def revoke_tokens(name: str) -> int:
    """Revoke every token of that name; how many there were."""
    with log.atomic():
        _, deleted = Token.objects.filter(name=name).delete()
        count: int = deleted.get(Token._meta.label, 0)
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
    operates = user.is_active and user.is_superuser and user.is_staff
    told = "created" if is_new else "changed"
    with log.atomic():
        others = _operators().select_for_update().exclude(pk=user.pk)  # two may not give it up at once
        if not is_new and not operates and not others.exists():
            raise Conflict(
                f"{user.username} is the last active operator",
                meaning="Nobody could sign in and change accounts any more.",
                fix="Make another account an operator first.",
            )
        user.save()
        log.emit(f"user.{told}", subject=f"user/{user.username}", message=f"Account {user.username} was {told}")

"""Forms of the policy room."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from unfold.forms import AdminOwnPasswordChangeForm, AdminPasswordChangeForm

from policy.actions import set_password
from policy.models import Scope, User


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[misc]  # unfold ships no types
    """Gives somebody a new password, through the action that records it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.pop("usable_password", None)

    def save(self, commit: bool = True) -> User:
        """Set it; the account's other browsers are signed out."""
        return _set(self.user, self.cleaned_data["password1"])


class OwnPasswordForm(AdminOwnPasswordChangeForm):  # type: ignore[misc]  # unfold ships no types
    """Changes one's own password, through the action that records it."""

    def save(self, commit: bool = True) -> User:
        """Set it; one's other browsers are signed out."""
        return _set(self.user, self.cleaned_data["new_password1"])


class TokenForm(forms.Form):
    """A program's key to the API. `issuer`: who fills it in; only an operator gives tokens to others."""

    name = forms.CharField(max_length=100, help_text="What uses it, such as ci")
    user = forms.ModelChoiceField(queryset=User.objects.none(), label="For", help_text="It acts as this person")
    scope = forms.ChoiceField(
        choices=[(Scope.READ, "read only"), (Scope.OPERATE, "read and operate")], initial=Scope.READ, label="May"
    )
    days = forms.IntegerField(min_value=1, max_value=3650, initial=90, label="Days", help_text="Until it expires")

    def __init__(self, *args: Any, issuer: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        people = User.objects.filter(is_active=True, is_staff=True)
        field = self.fields["user"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101  declared so above
        field.queryset = people if issuer.is_superuser else people.filter(pk=issuer.pk)
        field.initial = issuer.pk

    def wanted(self) -> dict[str, Any]:
        """Arguments for `policy.actions.issue_token`."""
        given = self.cleaned_data
        scopes = [Scope.READ] if given["scope"] == Scope.READ else [Scope.READ, Scope.OPERATE]
        return {
            "user": given["user"],
            "name": given["name"],
            "scopes": [scope.value for scope in scopes],
            "lifetime": timedelta(days=given["days"]),
        }


def _set(user: Any, password: str) -> User:
    set_password(user.username, password)
    user.refresh_from_db(fields=["password"])
    changed: User = user
    return changed

"""Forms of the events room."""

from __future__ import annotations

import secrets
from typing import Any

from django import forms

from events.models import Destination, Level
from events.notifications.address import shown_address

_EVENTS = "Kinds, separated by spaces; * stands for anything: environment.health *.failed"
_LEVEL = "The least that is told"


class NewDestinationForm(forms.Form):
    """A destination that is to be."""

    name = forms.CharField(max_length=64, help_text="Letters, digits, - and _")
    address = forms.CharField(
        max_length=500,
        help_text="https://host/path for a webhook, name@host for mail. "
        "The path is not shown again: it is often a password.",
    )
    events = forms.CharField(max_length=500, initial="*", help_text=_EVENTS)
    level = forms.ChoiceField(choices=Level.choices, initial=Level.WARNING, help_text=_LEVEL)
    secret = forms.CharField(
        max_length=200,
        required=False,
        help_text="Signs what a webhook is sent, so that it knows GAIA. Copy it now, it is not shown again; "
        "or leave it empty, and nothing is signed.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.fields["secret"].initial = secrets.token_urlsafe(24)

    def wanted(self) -> dict[str, Any]:
        """Arguments for `events.notifications.destinations.add`."""
        given = self.cleaned_data
        is_mail = "://" not in given["address"]
        return {**given, "secret": "" if is_mail else given["secret"]}


class ChangeDestinationForm(forms.Form):
    """What can be changed of one. What cannot be shown stays when its field is left empty."""

    address = forms.CharField(max_length=500, required=False, help_text="Empty: stays as it is")
    events = forms.CharField(max_length=500, help_text=_EVENTS)
    level = forms.ChoiceField(choices=Level.choices, help_text=_LEVEL)
    secret = forms.CharField(
        max_length=200,
        required=False,
        help_text="Empty: stays as it is",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    unsigned = forms.BooleanField(required=False, label="Sign no longer")

    def __init__(self, data: Any, *, destination: Destination) -> None:
        super().__init__(data, initial={"events": destination.events, "level": destination.level})
        self.label_suffix = ""
        self.fields["address"].widget.attrs["placeholder"] = shown_address(destination)
        if not destination.secret:
            del self.fields["unsigned"]

    def wanted(self) -> dict[str, Any]:
        """Arguments for `events.notifications.destinations.change`."""
        given = self.cleaned_data
        found = {"events": given["events"], "level": given["level"]}
        if given["address"]:
            found["address"] = given["address"]
        if given.get("unsigned"):
            found["secret"] = ""
        elif given["secret"]:
            found["secret"] = given["secret"]
        return found

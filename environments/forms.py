"""Forms of the environments room."""

from __future__ import annotations

import secrets
from typing import Any

from django import forms
from django.conf import settings

from environments.actions.setup import MAX_COUNT
from projects.models import Project


class SetupForm(forms.Form):
    """What to set up, and where; what is left empty is worked out and shown in the plan."""

    source = forms.CharField(
        required=False,
        max_length=1000,
        help_text="Path or URL of a git repository; empty means the project that is registered",
    )
    project = forms.CharField(required=False, max_length=64, help_text="Its name here; empty means the repository's")
    count = forms.IntegerField(min_value=1, max_value=MAX_COUNT, help_text="How many environments")
    root = forms.CharField(
        required=False, max_length=1000, help_text="Directory for the checkouts; empty means beside a local source"
    )
    base_port = forms.IntegerField(
        required=False,
        min_value=1024,
        max_value=65_000,
        help_text="Port of the first dev stage; qa is 100 above, staging 200",
    )
    key = forms.CharField(widget=forms.HiddenInput, required=False, max_length=100)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.fields["count"].initial = settings.GAIA["environments.count"]
        self.fields["key"].initial = f"console-{secrets.token_hex(8)}"  # a second click starts nothing twice

    def clean(self) -> dict[str, Any]:
        """Without a source, it must be clear which registered project is meant."""
        cleaned = super().clean() or {}
        if cleaned.get("source"):
            return cleaned
        names = list(Project.objects.values_list("name", flat=True))
        if not names:
            self.add_error("source", "Say which repository: nothing is registered yet.")
        elif cleaned.get("project") and cleaned["project"] not in names:
            self.add_error("project", f"Nothing is registered under this name. There are: {', '.join(names)}.")
        elif not cleaned.get("project") and len(names) > 1:
            self.add_error("project", f"Say which one: {', '.join(names)}.")
        return cleaned

    def wanted(self) -> dict[str, Any]:
        """Arguments for `environments.actions.setup.plan_setup`."""
        return {name: value for name, value in self.cleaned_data.items() if name != "key" and value not in ("", None)}

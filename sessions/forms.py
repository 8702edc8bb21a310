"""Forms of the sessions room."""

from __future__ import annotations

from typing import Any

from django import forms

from environments.actions.stages import find_environment
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from sessions.actions import start
from sessions.configured import providers
from sessions.providers import SYSTEM


class NewSessionForm(forms.Form):
    """One session besides the fleet."""

    name = forms.CharField(max_length=64, help_text="Letters, digits, - and _")
    provider = forms.ChoiceField(help_text="Where its CLI is missing, a shell runs and says so")
    group = forms.ChoiceField(initial="other")
    environment = forms.ChoiceField(required=False, help_text="It works in this checkout")
    role = forms.CharField(max_length=60, required=False, help_text="One word for what it does")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        live = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project")
        choices: dict[str, list[tuple[str, str]]] = {
            "provider": [(name, provider.label) for name, provider in providers().items()],
            "group": [(group.key, group.label) for group in start.fleet().groups],
            "environment": [("", "none: a directory of its own"), *((each.directory, each.directory) for each in live)],
        }
        for name, offered in choices.items():
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101  declared so above
            field.choices = offered
        self.fields["provider"].initial = SYSTEM

    def wanted(self) -> dict[str, Any]:
        """Arguments for `sessions.actions.start.create`."""
        name = self.cleaned_data["environment"]
        return {**self.cleaned_data, "environment": find_environment(name) if name else None}

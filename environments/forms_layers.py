"""Forms of layers."""

from __future__ import annotations

import secrets
from typing import Any

from django import forms

from common.errors import InvalidInput
from environments.actions.layers import shown_value
from environments.models import Layer
from environments.states import Engine, McpSet, Need

_PORTS = "First and last, such as 8000-8044; empty: stages have the ports of their project"
_SPACES = "Names, separated by spaces"


class LayerForm(forms.Form):
    """What a layer is; as an operator types it."""

    name = forms.CharField(max_length=40, help_text="Letters, digits, - and _")
    purpose = forms.CharField(max_length=300, required=False, help_text="What it is for")
    engine = forms.ChoiceField(choices=Engine.choices, help_text="What keeps the data of its stages")
    postgresql_url = forms.CharField(
        max_length=500,
        required=False,
        label="PostgreSQL server",
        help_text="postgresql://USER:PASSWORD@HOST:PORT. Empty: the one in the settings, which production never has. "
        "It is not shown again.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    ports = forms.CharField(max_length=11, required=False, help_text=_PORTS)
    mcp = forms.ChoiceField(choices=McpSet.choices, label="MCP servers", help_text="That its environments may use")
    mcp_servers = forms.CharField(max_length=2000, required=False, label="The basic ones", help_text=_SPACES)
    services = forms.CharField(max_length=2000, required=False, label="Services it stands on", help_text=_SPACES)
    needs = forms.MultipleChoiceField(
        choices=Need.choices, required=False, label="It needs", widget=forms.CheckboxSelectMultiple
    )
    variables = forms.CharField(
        required=False,
        max_length=20_000,
        help_text="One NAME=VALUE a line, found by its stages",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
    )
    production = forms.BooleanField(required=False, label="Its data is kept from every other layer")

    def __init__(self, data: Any, *, layer: Layer | None = None) -> None:
        super().__init__(data, initial=_initial(layer) if layer else None)
        self.label_suffix = ""
        self.before = dict(layer.variables) if layer else {}
        if layer is not None:
            del self.fields["name"]
            if layer.postgresql_url:
                self.fields["postgresql_url"].widget.attrs["placeholder"] = "stays as it is"

    def wanted(self) -> dict[str, Any]:
        """Arguments for `layers.add` and `layers.change`. Raises: InvalidInput."""
        given = self.cleaned_data
        first, last = _range(given["ports"])
        found = {
            "purpose": given["purpose"],
            "engine": given["engine"],
            "first_port": first,
            "last_port": last,
            "mcp": given["mcp"],
            "mcp_servers": given["mcp_servers"].split(),
            "services": given["services"].split(),
            "needs": given["needs"],
            "variables": {name: self._meant(name, text) for name, text in _variables(given["variables"]).items()},
            "production": given["production"],
        }
        return {**found, "postgresql_url": given["postgresql_url"]} if given["postgresql_url"] else found

    def _meant(self, name: str, text: str) -> str:
        """A secret that was left as it was shown stays what it is."""
        before = str(self.before.get(name, ""))
        return before if before and text == shown_value(name, before) else text


def _initial(layer: Layer) -> dict[str, Any]:
    return {
        "purpose": layer.purpose,
        "engine": layer.engine,
        "ports": f"{layer.first_port}-{layer.last_port}" if layer.ports else "",
        "mcp": layer.mcp,
        "mcp_servers": " ".join(layer.mcp_servers),
        "services": " ".join(layer.services),
        "needs": layer.needs,
        "variables": "\n".join(f"{name}={shown_value(name, str(text))}" for name, text in layer.variables.items()),
        "production": layer.production,
    }


def _range(text: str) -> tuple[int | None, int | None]:
    words = text.replace("–", "-").split("-")
    if not text.strip():
        return None, None
    if len(words) != 2 or not all(word.strip().isascii() and word.strip().isdigit() for word in words):
        raise InvalidInput(f"{text!r} is no range of ports", fix="Write it like 8000-8044.")
    return int(words[0]), int(words[1])


def _variables(text: str) -> dict[str, str]:
    lines = [line.strip("\r") for line in text.split("\n") if line.strip()]
    wrong = [line for line in lines if "=" not in line]
    if wrong:
        raise InvalidInput(f"{wrong[0][:60]!r} is no variable with its value", fix="Write it like LOG_LEVEL=debug.")
    return {name.strip(): value for name, _, value in (line.partition("=") for line in lines)}


class ChooseLayerForm(forms.Form):
    """Which layer an environment is to be in."""

    layer = forms.ChoiceField()
    restart = forms.BooleanField(required=False, label="Restart stages that run")
    key = forms.CharField(widget=forms.HiddenInput, required=False, max_length=100)

    def __init__(self, data: Any, *, now: str) -> None:
        super().__init__(data, initial={"layer": now, "key": f"console-{secrets.token_hex(8)}"})
        self.label_suffix = ""
        choices = [(layer.name, f"{layer.name}: {layer.purpose}".rstrip(": ")) for layer in Layer.objects.all()]
        self.fields["layer"].choices = choices  # type: ignore[attr-defined]

"""Layers, with the four that come with GAIA; every environment there is belongs to the local one."""

from __future__ import annotations

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

BASIC = ["memory", "code-intelligence", "tools-registry"]
SHIPPED: tuple[dict[str, Any], ...] = (
    {
        "name": "local",
        "position": 1,
        "purpose": "Work of one developer or agent: nothing is shared",
        "engine": "sqlite",
    },
    {
        "name": "integration",
        "position": 2,
        "purpose": "Features tested together on a shared PostgreSQL server",
        "engine": "postgresql",
        "first_port": 8000,
        "last_port": 8014,
        "mcp": "basic",
        "mcp_servers": BASIC,
    },
    {
        "name": "staging",
        "position": 3,
        "purpose": "What production will be, with data that is not production's",
        "engine": "postgresql",
        "first_port": 8700,
        "last_port": 8799,
        "mcp": "all",
        "mcp_servers": BASIC,
        "needs": ["redis", "vector"],
    },
    {
        "name": "production",
        "position": 4,
        "purpose": "The live system: backed up, watched, its data kept from every other layer",
        "engine": "postgresql",
        "first_port": 8800,
        "last_port": 8899,
        "mcp": "all",
        "mcp_servers": BASIC,
        "needs": ["redis", "vector", "backups", "monitoring"],
        "production": True,
    },
)


def add_layers(apps: Any, schema_editor: Any) -> None:
    """What comes with GAIA; afterwards it is the operator's to change."""
    layers = apps.get_model("environments", "Layer")
    for each in SHIPPED:
        layers.objects.create(**each)


class Migration(migrations.Migration):
    dependencies = [("environments", "0004_health_and_backups")]

    operations = [
        migrations.CreateModel(
            name="Layer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.SlugField(help_text="What people type: integration", max_length=40, unique=True)),
                ("purpose", models.CharField(blank=True, max_length=300)),
                ("position", models.PositiveIntegerField(default=100, help_text="Where it stands in the list")),
                (
                    "engine",
                    models.CharField(
                        choices=[("sqlite", "SQLite"), ("postgresql", "PostgreSQL")], default="sqlite", max_length=12
                    ),
                ),
                (
                    "first_port",
                    models.PositiveIntegerField(
                        blank=True, help_text="None: stages have their project's ports", null=True
                    ),
                ),
                ("last_port", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "mcp",
                    models.CharField(
                        choices=[("off", "None"), ("basic", "The basic ones"), ("all", "All")],
                        default="off",
                        max_length=6,
                    ),
                ),
                ("mcp_servers", models.JSONField(blank=True, default=list, help_text="Names of the basic ones")),
                (
                    "services",
                    models.JSONField(blank=True, default=list, help_text="Names of services that should run for it"),
                ),
                ("needs", models.JSONField(blank=True, default=list, help_text="redis, vector, backups, monitoring")),
                (
                    "variables",
                    models.JSONField(
                        blank=True, default=dict, help_text="What else its stages find in their environment"
                    ),
                ),
                (
                    "postgresql_url",
                    models.CharField(blank=True, help_text="Its own server; nobody is shown it again", max_length=500),
                ),
                (
                    "production",
                    models.BooleanField(default=False, help_text="Its data is kept from every other layer"),
                ),
            ],
            options={
                "ordering": ["position", "name"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("first_port", None), ("last_port", None)),
                            ("first_port__lte", models.F("last_port")),
                            _connector="OR",
                        ),
                        name="ports_of_a_layer_are_a_range",
                    )
                ],
            },
        ),
        migrations.RunPython(add_layers, migrations.RunPython.noop),
        migrations.AddField(
            model_name="environment",
            name="layer",
            field=models.ForeignKey(
                default="local",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="environments",
                to="environments.layer",
                to_field="name",
            ),
        ),
        migrations.AddField(
            model_name="stage",
            name="servers",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="Names of its databases on the PostgreSQL servers of layers, by layer",
            ),
        ),
    ]

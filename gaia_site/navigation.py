"""The console's frame: unfold's settings and the navigation of CONSOLE.md, as far as its rooms exist."""

from __future__ import annotations

from typing import Any

from django.urls import reverse_lazy


def _item(title: str, icon: str, model: str, key: str, needs: str = "", page: str = "") -> dict[str, Any]:
    """A list one can go to, or a `page` of its own: `key` after g, `needs` names the count of what waits there."""
    link = reverse_lazy(page or (f"admin:{model}_changelist" if model else "admin:index"))
    return {"title": title, "icon": icon, "link": link, "key": key, "needs": needs}


# What one can do from anywhere: title, icon, name of the page.
VERBS: tuple[tuple[str, str, str], ...] = (
    ("Set up environments…", "add_circle", "admin:environments_environment_setup"),
    ("Remove environments…", "delete", "admin:environments_environment_remove"),
    ("Back up databases…", "settings_backup_restore", "admin:environments_backup_take"),
    ("Reset environments…", "restart_alt", "admin:environments_backup_reset"),
    ("Start sessions…", "play_circle", "admin:gaia_sessions_session_start"),
    ("Stop sessions…", "stop_circle", "admin:gaia_sessions_session_stop_fleet"),
    ("Register a service…", "add_task", "admin:services_service_register"),
    ("Add a destination…", "campaign", "admin:events_destination_new"),
    ("Issue a token…", "vpn_key", "admin:policy_token_issue"),
)

# A calm violet: no state is of that colour.
_PRIMARY = {
    "50": "oklch(97% .014 281)",
    "100": "oklch(94.2% .03 281)",
    "200": "oklch(88.5% .058 281)",
    "300": "oklch(80.5% .094 281)",
    "400": "oklch(70% .135 281)",
    "500": "oklch(60% .165 281)",
    "600": "oklch(51.5% .17 281)",
    "700": "oklch(45.5% .157 281)",
    "800": "oklch(39% .13 281)",
    "900": "oklch(33.5% .1 281)",
    "950": "oklch(24% .07 281)",
}

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "GAIA",
    "SITE_HEADER": "GAIA",
    "SITE_SYMBOL": "hub",
    "SITE_URL": None,
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "gaia_site.home.home_context",
    "GLOBAL_CALLBACK": "gaia_site.console.context.every_page",
    "COLORS": {"primary": _PRIMARY},
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            {"items": [_item("Home", "home", "", "h")]},
            {
                "title": "Fleet",
                "items": [
                    _item("Environments", "account_tree", "environments_environment", "e", "environments"),
                    _item("Health", "monitor_heart", "environments_health", "y", "health"),
                    _item("Backups", "settings_backup_restore", "environments_backup", "b"),
                    _item("Sessions", "terminal", "gaia_sessions_session", "s", "sessions"),
                    _item("Services", "deployed_code", "services_service", "v", "services"),
                    _item("Nodes", "dns", "processes_node", "n"),
                ],
            },
            {
                "title": "Work",
                "items": [
                    _item("Operations", "pending_actions", "processes_operation", "o", "operations"),
                    _item("Projects", "folder_code", "projects_project", "p"),
                ],
            },
            {
                "title": "Rules",
                "items": [
                    _item("Events", "history", "events_event", "a"),
                    _item("Notifications", "notifications", "events_notification", "m"),
                ],
            },
            {
                "title": "Settings",
                "items": [
                    _item("Jobs", "event_repeat", "django_q_schedule", "j"),
                    _item("Destinations", "campaign", "events_destination", "w"),
                    _item("Processes", "memory", "processes_process", "r"),
                    _item("Doctor", "stethoscope", "", "d", page="console:doctor"),
                    _item("Layers", "layers", "environments_layer", "k"),
                    _item("Ports", "settings_ethernet", "processes_portlease", "l"),
                    _item("People", "person", "policy_user", "u"),
                    _item("Tokens", "key", "policy_token", "t"),
                ],
            },
        ],
    },
}

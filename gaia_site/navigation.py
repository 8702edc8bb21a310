"""The console's frame: unfold's settings and the navigation of CONSOLE.md, as far as its rooms exist."""

from __future__ import annotations

from typing import Any

from django.urls import reverse_lazy


def _item(title: str, icon: str, url: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(url)}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "GAIA",
    "SITE_HEADER": "GAIA",
    "SITE_SYMBOL": "hub",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "gaia_site.home.home_context",
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": [
            {"items": [_item("Home", "home", "admin:index")]},
            {
                "title": "Fleet",
                "items": [
                    _item("Environments", "account_tree", "admin:environments_environment_changelist"),
                    _item("Sessions", "terminal", "admin:gaia_sessions_session_changelist"),
                    _item("Nodes", "dns", "admin:processes_node_changelist"),
                ],
            },
            {
                "title": "Work",
                "items": [
                    _item("Operations", "pending_actions", "admin:processes_operation_changelist"),
                    _item("Projects", "folder_code", "admin:projects_project_changelist"),
                ],
            },
            {
                "title": "Rules",
                "items": [_item("Audit", "history", "admin:events_event_changelist")],
            },
            {
                "title": "Settings",
                "items": [
                    _item("Processes", "memory", "admin:processes_process_changelist"),
                    _item("Ports", "settings_ethernet", "admin:processes_portlease_changelist"),
                    _item("People", "person", "admin:policy_user_changelist"),
                    _item("Tokens", "key", "admin:policy_token_changelist"),
                ],
            },
        ],
    },
}

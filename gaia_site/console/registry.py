"""What the console lists: the rooms' own models, not those that packages bring along."""

from __future__ import annotations

from django.contrib import admin

from events.console.admin import ConsoleAdmin


def keep_our_own() -> None:
    """Take out of the console what Django and packages have registered: groups, the job queue's tables, ….

    Their pages would write rows without an action, and so without an event.
    """
    for model, registered in list(admin.site._registry.items()):
        if not isinstance(registered, ConsoleAdmin):
            admin.site.unregister(model)

from typing import Any

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    name = "sessions"
    # django.contrib.sessions owns the label "sessions"; management commands take ours as "gaia_sessions"
    label = "gaia_sessions"
    verbose_name = "Sessions"

    def ready(self) -> None:
        from environments.signals import environment_removing
        from policy.signals import panic_declared

        environment_removing.connect(_end_sessions, dispatch_uid="sessions.end_sessions_of")
        panic_declared.connect(_still_terminals, dispatch_uid="sessions.still_terminals")


def _end_sessions(*, environment: Any, **_: Any) -> None:
    """Verbs that are not about sessions start a fifth faster without loading what knows the fleet."""
    from sessions.actions.control import end_sessions_of

    end_sessions_of(environment=environment)


def _still_terminals(**_: Any) -> None:
    from sessions.actions.panic import still_terminals

    still_terminals()

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    name = "sessions"
    # django.contrib.sessions owns the label "sessions"; management commands take ours as "gaia_sessions"
    label = "gaia_sessions"
    verbose_name = "Sessions"

    def ready(self) -> None:
        from environments.signals import environment_removing
        from sessions.actions.control import end_sessions_of

        environment_removing.connect(end_sessions_of, dispatch_uid="sessions.end_sessions_of")

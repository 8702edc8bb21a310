from django.apps import AppConfig


class SessionsConfig(AppConfig):
    name = "sessions"
    # django.contrib.sessions owns the label "sessions"; management commands take ours as "gaia_sessions"
    label = "gaia_sessions"
    verbose_name = "Sessions"

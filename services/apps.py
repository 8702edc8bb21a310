from django.apps import AppConfig


class ServicesConfig(AppConfig):
    name = "services"
    verbose_name = "Services"

    def ready(self) -> None:
        from processes.actions.logs import hide
        from services.logs import secrets_of

        hide(secrets_of)

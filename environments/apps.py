from typing import Any

from django.apps import AppConfig


class EnvironmentsConfig(AppConfig):
    name = "environments"
    verbose_name = "Environments"

    def ready(self) -> None:
        from services.signals import service_starting

        service_starting.connect(_prepare_stage, dispatch_uid="environments.prepare_stage")


def _prepare_stage(*, service: Any, **_: Any) -> None:
    """Verbs that start no stage do without what knows how."""
    if service.kind != "stage":
        return
    from environments.actions.stages import prepare

    prepare(service)

from typing import Any

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "gaia_site"
    verbose_name = "GAIA"

    def ready(self) -> None:
        from django.db.models.signals import post_save
        from django_q.models import Task

        from gaia_site import checks  # noqa: F401  registering is the import's purpose

        post_save.connect(_job_ended, sender=Task, dispatch_uid="gaia.job_ended")


def _job_ended(sender: Any, instance: Any, **kwargs: Any) -> None:
    """The job queue has stored what became of a job."""
    from gaia_site.scheduling import record_end  # croniter and the queue's code: most processes never see a job

    record_end(instance)

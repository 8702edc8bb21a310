from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "gaia_site"
    verbose_name = "GAIA"

    def ready(self) -> None:
        from gaia_site import checks  # noqa: F401  registering is the import's purpose

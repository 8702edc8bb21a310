from __future__ import annotations

from gaia_site.management.verb import VerbCommand


class Command(VerbCommand):
    help = "The same as `gaia session start`; with --stop, as `gaia session stop`."
    verb = ("session",)

    def words(self, words: list[str]) -> list[str]:
        """`--stop` is the verb `stop`."""
        return ["session", "stop" if "--stop" in words else "start", *(word for word in words if word != "--stop")]

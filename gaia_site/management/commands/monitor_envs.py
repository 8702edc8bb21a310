from gaia_site.management.verb import VerbCommand


class Command(VerbCommand):
    help = "The same as `gaia env monitor`, with the same arguments."
    verb = (
        "env",
        "monitor",
    )

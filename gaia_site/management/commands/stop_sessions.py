from gaia_site.management.verb import VerbCommand


class Command(VerbCommand):
    help = "The same as `gaia session stop`, with the same arguments."
    verb = (
        "session",
        "stop",
    )

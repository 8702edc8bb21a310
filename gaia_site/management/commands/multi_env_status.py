from gaia_site.management.verb import VerbCommand


class Command(VerbCommand):
    help = "The same as `gaia multi-env-status`, with the same arguments."
    verb = ("multi-env-status",)

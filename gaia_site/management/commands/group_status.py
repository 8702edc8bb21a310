from gaia_site.management.verb import VerbCommand


class Command(VerbCommand):
    help = "The same as `gaia group-status`, with the same arguments."
    verb = ("group-status",)

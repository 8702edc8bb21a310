from gaia_site.management.verb import VerbCommand


class Command(VerbCommand):
    help = "The same as `gaia service`, with the same verbs and arguments."
    verb = ("service",)

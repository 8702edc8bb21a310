from gaia_site.management.verb import VerbCommand


class Command(VerbCommand):
    help = "The same as `gaia backup take`, with the same arguments."
    verb = ("backup", "take")

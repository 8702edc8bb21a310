from gaia_site.management.verb import VerbCommand


class Command(VerbCommand):
    help = "Any gaia verb: manage.py gaia env list is `gaia env list`."
    verb = ()

"""`python DIRECTORY` is the `gaia` command line: what the bootstrap runs, from wherever one stands."""

import sys

from gaia_site.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())

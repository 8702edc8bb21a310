"""Entry point: parse, run one verb, turn foreseen errors into three lines and an exit code."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from importlib import import_module

from common.errors import GaiaError
from gaia_site.cli import fast
from gaia_site.cli.arguments import build_parser, normalise


def main(argv: list[str] | None = None) -> int:
    """Run one command line. Returns: the exit code."""
    words = normalise(sys.argv[1:] if argv is None else argv)
    answered = fast.answer(words)
    if answered is not None:
        return answered
    parser = build_parser()
    arguments = parser.parse_args(words)
    if not getattr(arguments, "run", None):
        parser.print_help()
        return 2
    return run(arguments)


def run(arguments: Namespace) -> int:
    """Run the verb that `arguments.run` names, as `module:function` within this package. Returns: the exit code."""
    module, _, function = arguments.run.partition(":")
    try:
        work = getattr(import_module(f"gaia_site.cli.{module}"), function)
        return int(work(arguments) or 0)
    except GaiaError as error:
        return report(error, as_json=getattr(arguments, "json", False))
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except BrokenPipeError:  # `gaia … | head`: whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def report(error: GaiaError, *, as_json: bool) -> int:
    """What happened, what it means, what to do; with --json also as an object on stdout. Returns: the exit code."""
    if as_json:
        print(json.dumps({"error": error.as_dict()}, default=str))
    sys.stderr.write(f"gaia: {error.what}\n")
    for part in (error.meaning, error.fix):
        if part:
            sys.stderr.write("  " + part.replace("\n", "\n  ") + "\n")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

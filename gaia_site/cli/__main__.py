"""Entry point: parse, run one verb, turn foreseen errors into three lines and an exit code."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from argparse import Namespace
from importlib import import_module

from common.errors import GaiaError, Unavailable
from common.text import plain
from gaia_site.cli import fast
from gaia_site.cli.words import normalise

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def main(argv: list[str] | None = None) -> int:
    """Run one command line. Returns: the exit code."""
    words = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Unicode gets ? for the signs
            stream.reconfigure(errors="replace")
    try:
        code = _answered(words)
        sys.stdout.flush()
    except BrokenPipeError:  # `gaia … | head`: whoever read has enough
        _drop_what_cannot_be_written()
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except Exception as error:
        foreseen = _foreseen(error)
        if foreseen is None:
            raise
        _drop_what_cannot_be_written()
        return report(foreseen, as_json="--json" in words)
    return code


def run(arguments: Namespace) -> int:
    """Run the verb that `arguments.run` names, as `module:function` within this package. Returns: the exit code."""
    module, _, function = arguments.run.partition(":")
    work = getattr(import_module(f"gaia_site.cli.{module}"), function)
    return int(work(arguments) or 0)


def report(error: GaiaError, *, as_json: bool) -> int:
    """What happened, what it means, what to do; with --json also as an object on stdout. Returns: the exit code."""
    code = error.exit_code
    if as_json:
        print(json.dumps({"error": error.as_dict()}, default=str), flush=True)
    error = GaiaError(plain(error.what), meaning=plain(error.meaning), fix=plain(error.fix))
    first, *more = error.what.splitlines() or [""]
    sys.stderr.write(f"gaia: {first}\n")
    for line in [*more, *error.meaning.splitlines(), *error.fix.splitlines()]:
        sys.stderr.write(f"  {line.strip()}\n" if line in more else f"  {line}\n")
    return code


def _drop_what_cannot_be_written() -> None:
    """Python would try again at its end, and end with another code."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _answered(words: list[str]) -> int:
    try:
        return _answer(words)
    except SystemExit as end:  # argparse has printed help
        return end.code if isinstance(end.code, int) else 0


def _answer(words: list[str]) -> int:
    words = normalise(words)
    answered = fast.answer(words)
    if answered is not None:
        return answered
    if words in ([], ["--version"]):
        from gaia_site.cli import overview

        print(overview.version() if words else overview.SHORT)
        return 0
    from gaia_site.cli.arguments import build_parser

    arguments = build_parser(words[0]).parse_args(words)
    if arguments.version:
        from gaia_site.cli import overview

        print(overview.version())
        return 0
    if not hasattr(arguments, "run"):  # `gaia env`: what follows it
        arguments.helps.print_help()
        return 0
    return run(arguments)


def _foreseen(error: Exception) -> GaiaError | None:
    """The error in GAIA's own form, if it tells of the machine and not of a defect."""
    if isinstance(error, GaiaError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL | _FORBIDDEN:
        where = f" ({error.filename})" if error.filename else ""
        fix = "Make room and run it again." if error.errno in _FULL else "Give yourself the right to write there."
        return Unavailable(
            f"{error.strerror}{where}", meaning="It was not finished; nothing is left half-written.", fix=fix
        )
    if isinstance(error, ModuleNotFoundError) and error.name == "django":
        return Unavailable(
            "the virtual environment does not fit its Python",
            meaning="Python was upgraded, or .venv was made by hand.",
            fix=f"Remove {sys.prefix} and run ./gaia again: it makes it anew.",
        )
    if type(error).__module__ == "django.db.utils":
        return _of_database(error)
    return None


def _of_database(error: Exception) -> GaiaError | None:
    text = str(error).strip()
    if "no such table" in text or ("relation" in text and "does not exist" in text):
        from gaia_site.cli.ground import forget_schema

        forget_schema()
        return Unavailable(
            "the database has lost its tables",
            meaning="It was emptied or replaced while GAIA was not looking.",
            fix="Restore a backup, or run this again: then they are made anew, and sessions in tmux are found again.",
        )
    if "not a database" in text or "malformed" in text:
        return Unavailable(
            f"GAIA's own database is damaged: {text}",
            meaning="Nothing was done.",
            fix="Restore its newest backup: gaia down, then gaia backup restore gaia; gaia backup list shows them.",
        )
    if type(error).__name__ not in {"OperationalError", "InterfaceError", "DatabaseError"}:
        return None
    return Unavailable(
        f"the database does not answer: {text}" if text else "the database does not answer",
        fix="Is its server up, and database.url right (gaia config)? For SQLite: is the disk full?",
    )


if __name__ == "__main__":
    sys.exit(main())

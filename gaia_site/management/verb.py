"""Management commands that are `gaia` verbs: one grammar, one implementation."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.errors import GaiaError
from gaia_site.cli.__main__ import main, run
from gaia_site.cli.arguments import build_parser


class VerbCommand(BaseCommand):
    """The verb of a command line, as a management command with the same arguments."""

    verb: ClassVar[tuple[str, ...]]
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Called for `manage.py NAME …`: everything after the name is the verb's. Raises: SystemExit with its code."""
        raise SystemExit(main(self.words(argv[2:])))

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Called for `manage.py help NAME`."""
        main([*self.words([]), "--help"])

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Called by `call_command(NAME, "--flag", …)`: the words are the verb's."""
        parser = super().create_parser(prog_name, subcommand, **options)
        defaults = vars(parser.parse_args([]))  # what Django wants to find, such as force_color

        def parse_args(args: Any = None, namespace: Any = None) -> Namespace:
            return Namespace(**defaults, words=list(args or ()))

        parser.parse_args = parse_args  # type: ignore[method-assign, assignment]
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Called by `call_command`. Raises: CommandError with the verb's exit code."""
        try:
            words = self.words(options["words"])
            code = run(build_parser(words[0] if words else "").parse_args(words))
        except GaiaError as error:
            text = "\n".join(part for part in (error.what, error.meaning, error.fix) if part)
            raise CommandError(text, returncode=error.exit_code) from error
        if code:
            raise CommandError(f"{' '.join(self.verb)} ended with {code}", returncode=code)

    def words(self, words: list[str]) -> list[str]:
        """The verb's command line for the command's; the same unless a command has flags of its own."""
        return [*self.verb, *words]

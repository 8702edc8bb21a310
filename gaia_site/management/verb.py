"""Management commands that are `gaia` verbs: one grammar, one implementation."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.management.base import BaseCommand

from gaia_site.cli.__main__ import main


class VerbCommand(BaseCommand):
    """Hands its command line on to `gaia VERB`."""

    verb: ClassVar[tuple[str, ...]]
    requires_system_checks: ClassVar[list[str]] = []

    def run_from_argv(self, argv: list[str]) -> None:
        """Called for `manage.py NAME …`: everything after the name is the verb's. Raises: SystemExit with its code."""
        raise SystemExit(main([*self.verb, *self.translate(argv[2:])]))

    def handle(self, *args: Any, **options: Any) -> None:
        """Called by `call_command(NAME, "--flag", …)`."""
        code = main([*self.verb, *self.translate([str(word) for word in args])])
        if code:
            raise SystemExit(code)

    def translate(self, words: list[str]) -> list[str]:
        """The verb's words for the command's; the same unless a command has flags of its own."""
        return words

"""Django's `manage.py` has the same verbs."""

from __future__ import annotations

import json

import pytest

from tests.gaia_site.command_line import CommandLine


@pytest.mark.parametrize(
    ("command", "verb"),
    [
        ("group_status --json", "group-status --json"),
        ("multi_env_status", "multi-env-status"),
        ("gaia session list --json", "session list --json"),
        ("gaia --version", "--version"),
        ("setup_envs --count 0", "env setup --count 0"),
        ("stop_sessions nobody", "session stop nobody"),
        ("start_sessions --group nowhere --json", "session start --group nowhere --json"),
        ("start_sessions --stop nobody", "session stop nobody"),
    ],
)
def test_management_commands_are_the_same_verbs(cli: CommandLine, command: str, verb: str) -> None:
    said = cli(*verb.split())
    assert cli.manage(*command.split()) == said


@pytest.mark.parametrize(
    "command", ["start_sessions", "stop_sessions", "setup_envs", "group_status", "multi_env_status"]
)
def test_management_commands_show_the_verbs_help(cli: CommandLine, command: str) -> None:
    for words in (["help", command], [command, "--help"]):
        said = cli.manage(*words)
        assert said.code == 0
        assert said.out.startswith("usage: gaia ")
        assert "--json" in said.out


def test_call_command(db: None, home: object, acting: str, capsys: pytest.CaptureFixture[str]) -> None:
    from django.core.management import CommandError, call_command

    call_command("gaia", "events", "--json", verbosity=0)
    assert json.loads(capsys.readouterr().out) == []
    with pytest.raises(CommandError, match="there is no option --nonsense") as caught:
        call_command("group_status", "--nonsense")
    assert caught.value.returncode == 2


def test_manage_runs_djangos_own_commands(cli: CommandLine) -> None:
    assert "no issues" in cli("manage", "check").out
    assert cli("manage", "nonsense").code != 0


@pytest.mark.parametrize("verb", ["test", "lock"])
def test_verbs_of_the_bootstrap_say_so_elsewhere(cli: CommandLine, verb: str) -> None:
    assert "this verb is run by the bootstrap" in cli.manage("gaia", verb).mistake(2)[0]

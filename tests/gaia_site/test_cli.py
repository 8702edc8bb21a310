"""What the command line says by itself: help, mistakes, colours, the same in every terminal."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from libtmux.test.retry import retry_until

from events import log
from events.models import Event
from gaia_site.cli.arguments import build_parser
from gaia_site.cli.pictures import totals
from tests.gaia_site.command_line import ROOT, CommandLine
from tests.gaia_site.verbs import every_verb


def test_alone_it_says_what_it_can_do(bare: CommandLine) -> None:
    said = bare()
    assert (said.code, said.err) == (0, "")
    assert "gaia up --demo" in said.out
    assert len(said.lines) < 24
    assert all(len(line) <= 80 for line in said.lines)


def test_the_short_help_names_only_verbs_there_are(bare: CommandLine) -> None:
    known = {" ".join(verb) for verb in every_verb()} | {"VERB", "--help", "--group-status", "--multi-env-status"}
    for found in re.findall(r"gaia ((?:session|env|service) [a-z]+|[\w-]+)", bare().out):
        assert found in known, found


def test_version(bare: CommandLine) -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    assert version is not None
    assert bare("--version").out.startswith(f"gaia {version[1]} (Python 3.")


@pytest.mark.parametrize("words", [("--help",), ("help",)])
def test_the_whole_help_has_every_verb(bare: CommandLine, words: tuple[str, ...]) -> None:
    said = bare(*words)
    assert said.code == 0
    assert all(re.search(rf"^    {verb[0]}\b", said.out, re.MULTILINE) for verb in every_verb())
    assert all(len(line) <= 80 for line in said.lines)


@pytest.mark.parametrize("verb", [*every_verb(), ("env",), ("session",), ("operation",)], ids=" ".join)
def test_every_verb_has_help_that_says_what_each_word_means(
    verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser(verb[0]).parse_args([*verb, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert all(action.help for action in every_verb().get(verb, []))


def test_a_verb_alone_is_what_it_is_in_the_whole_grammar() -> None:
    whole = verbs_of(build_parser())
    for verb in {path[0] for path in every_verb()}:
        alone = verbs_of(build_parser(verb))
        assert verb in alone
        assert alone.keys() < whole.keys()
        assert all(alone[name].format_help() == whole[name].format_help() for name in alone)
        assert len(alone) < len(whole) / 4, "what a command line is not about is not built for it"


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [verbs] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(verbs.choices)


def test_a_verb_that_asks_for_another(bare: CommandLine) -> None:
    for group in ("env", "session", "operation"):
        said = bare(group)
        assert (said.code, said.err) == (0, "")
        assert f"usage: gaia {group} [-h] VERB" in said.out
    assert "usage: gaia env setup" in bare("help", "env", "setup").out


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (["staus"], "there is no verb 'staus'", "Did you mean status?"),
        (["session", "strat"], "there is no verb 'strat'", "Did you mean start?"),
        (["frobnicate"], "there is no verb 'frobnicate'", "`gaia --help` shows"),
        (["session", "start", "--gruop", "x"], "there is no option --gruop", "Did you mean --group?"),
        (["--jsno"], "there is no option --jsno", "`gaia --help` shows"),
        (["env", "list", "extra"], "'extra' is one word too many", "`gaia env list --help` shows"),
        (["env", "launch"], "NAME is missing", "`gaia env launch --help` shows"),
        (["env", "launch", "dev1", "prod"], "there is no stage 'prod'", "There are: dev, qa, staging."),
        (["up", "--port", "nonsense"], "--port: 'nonsense' is not a port", "`gaia up --help` shows"),
        (["up", "--port", "0"], "--port: 0 is not a port: 1 to 65535 are", "`gaia up --help` shows"),
        (["up", "--port", "65536"], "--port: 65536 is not a port: 1 to 65535 are", ""),
        (["up", "--port"], "--port: expected one argument", ""),
        (["env", "setup", "--count", "many"], "--count: 'many' is not a number of environments", ""),
        (["watch", "--interval", "0"], "--interval: 0 is not an interval in seconds: 0.2 to 3600 are", ""),
        (["watch", "--interval", "nan"], "--interval: nan is not an interval in seconds", ""),
        (["events", "--limit", "0"], "--limit: 0 is not a number of events: 1 to 10000 are", ""),
        (["token", "x", "--days", "99999999999"], "is not a number of days: 1 to 3650 are", ""),
        (["operation", "log", "-1"], "ID: -1 is not an operation's number: 1 or more are", ""),
        (["session", "capture", "x", "--lines", "1000000"], "is not a number of lines: 0 to 50000 are", ""),
        (["completion", "fish"], "there is no shell 'fish'", "There are: bash, zsh."),
        (["session", "send", "x"], "there is nothing to send", "--key Enter"),
        (["session", "send", "x", "text", "--key", "Enter"], "a text and --key together are not clear", ""),
        (["up", "--demo", "/somewhere"], "--demo makes its own repository", ""),
        (["--jso", "status"], "there is no option --jso", ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_mistakes_of_the_command_line(
    bare: CommandLine, tmp_path: Path, words: list[str], says: str, hint: str
) -> None:
    lines = bare(*words).mistake(2)
    assert says in lines[0]
    assert hint in lines[-1]
    assert not (tmp_path / "fresh").exists(), "a mistake makes nothing"


def test_with_json_a_mistake_is_data_too(bare: CommandLine) -> None:
    said = bare("env", "setup", "--count", "x", "--json")
    assert said.code == 2
    assert said.data["error"]["code"] == "invalid_input"
    assert set(said.data["error"]) == {"code", "what", "meaning", "fix", "detail"}
    assert said.err.startswith("gaia: --count")


@pytest.mark.parametrize("words", ["--json --group-status", "--group-status --json", "group-status --json"])
def test_flags_that_are_verbs(cli: CommandLine, words: str) -> None:
    assert next(group["key"] for group in cli(*words.split()).data) == "high_level"


# The home, the settings, the database


def test_who_has_read_enough_may_go(cli: CommandLine, acting: str) -> None:
    with log.atomic():
        for number in range(3000):
            log.emit("test.happened", subject="test/x", message=f"Event {number} " + "x" * 80)
    assert Event.objects.count() == 3000
    script = f'"{ROOT}/gaia" events --limit 3000 | head -n 1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, env={**os.environ, **cli.environ}
    )
    assert done.stdout.splitlines()[1:] == ["0"]
    assert done.stderr == ""


def test_a_terminal_without_unicode_gets_question_marks(bare: CommandLine) -> None:
    said = bare("status", PYTHONIOENCODING="latin-1", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert said.code == 1
    assert "GAIA is down" in said.out


def test_ctrl_c(cli: CommandLine) -> None:
    terminal = cli.on_a_terminal("passwd", bootstrap=True)
    terminal.until("New password: ")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.shown


def test_an_interrupt_while_it_loads(cli: CommandLine) -> None:
    process = cli.start("watch", "--interval", "0.2")
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_colours_only_on_terminals_that_want_them(bare: CommandLine, environ: dict[str, str], coloured: bool) -> None:
    terminal = bare.on_a_terminal("status", **environ)
    assert terminal.end() == 1
    assert ("\x1b[" in terminal.shown) == coloured
    assert "\x1b[" not in bare("status").out


def test_one_of_a_kind_is_counted_as_one() -> None:
    assert totals({"environments": 1, "stages": 3, "sessions": 1}) == "1 environment, 3 stages, 1 session"


def test_status_before_anything_was_started(bare: CommandLine, tmp_path: Path) -> None:
    said = bare("status")
    assert said.code == 1
    assert said.lines == [
        "○ GAIA is down",
        "  0 environments, 0 stages, 0 sessions",
        f"  home {tmp_path}/fresh/home",
        "  Start it: gaia up",
    ]
    assert bare("status", "--json").data["up"] is False
    assert not (tmp_path / "fresh").exists(), "asking makes nothing"


def test_from_a_directory_that_was_removed(cli: CommandLine, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd "{gone}" && rmdir "{gone}" && "{ROOT}/gaia" session list && "{ROOT}/gaia" env setup --dry-run'
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=60, env={**os.environ, **cli.environ}
    )
    assert done.returncode == 2
    assert done.stdout == "No sessions. Start the fleet: gaia session start\n"
    assert "the directory you stand in has been removed" in done.stderr


# Completion


def test_the_bootstrap_has_no_leftovers_running(bare: CommandLine) -> None:
    before = bare.start("--version")
    assert retry_until(lambda: before.poll() == 0, 30, raises=False)

"""The command line itself: its help, its mistakes, its manners in pipes and on terminals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from libtmux.test.retry import retry_until

from events import log
from events.models import Event
from gaia_site.cli.arguments import build_parser
from tests.gaia_site.command_line import ROOT, CommandLine
from tests.gaia_site.verbs import every_verb


@pytest.fixture
def bare(tmp_path: Path) -> CommandLine:
    """`./gaia` with a home that does not exist yet."""
    return CommandLine(tmp_path, GAIA_HOME=str(tmp_path / "fresh" / "home"), GAIA_DATABASE_URL="")


def test_alone_it_says_what_it_can_do(bare: CommandLine) -> None:
    said = bare()
    assert (said.code, said.err) == (0, "")
    assert "gaia up --demo" in said.out
    assert len(said.lines) < 24
    assert all(len(line) <= 80 for line in said.lines)


def test_the_short_help_names_only_verbs_there_are(bare: CommandLine) -> None:
    known = {" ".join(verb) for verb in every_verb()} | {"VERB", "--help", "--group-status", "--multi-env-status"}
    for found in re.findall(r"gaia ((?:session|env) [a-z]+|[\w-]+)", bare().out):
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
        build_parser().parse_args([*verb, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert all(action.help for action in every_verb().get(verb, []))


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


@pytest.mark.parametrize("words", [["session", "list"], ["up", "--detach"], ["env", "list", "--json"]])
def test_a_home_below_a_file(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    home = tmp_path / "file" / "home"
    lines = CommandLine(tmp_path, GAIA_HOME=str(home))(*words).mistake(6)
    assert lines[0] == f"gaia: GAIA's home {home} cannot be used: Not a directory"
    assert "set GAIA_HOME" in lines[-1]


def test_a_home_where_nothing_can_be_made(tmp_path: Path) -> None:
    lines = CommandLine(tmp_path, GAIA_HOME="/proc/gaia")("session", "list").mistake(6)
    assert "/proc/gaia cannot be used" in lines[0]


def test_the_home_of_somebody_there_is_not(tmp_path: Path) -> None:
    lines = CommandLine(tmp_path, GAIA_HOME="~nosuchperson/x")("status").mistake(2)
    assert "cannot be found" in lines[0]


def test_mistakes_in_the_settings_stop_every_verb_and_are_all_told(cli: CommandLine, home: object) -> None:
    said = cli("session", "list", GAIA_SERVER_PORT="nonsense", GAIA_JOBS_WROKERS="2")
    lines = said.mistake(2)
    assert lines[0] == "gaia: the settings have mistakes"
    assert "  GAIA_SERVER_PORT: expected a whole number, got 'nonsense'" in lines
    assert "  Did you mean GAIA_JOBS_WORKERS?" in lines


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("mysql://me:secret@host/gaia", 2, "is not the URL of a database GAIA can use"),
        ("postgresql://me:secret@host:port/gaia", 2, "is not a URL"),
        ("postgresql://me:secret@127.0.0.1:1/gaia", 6, "the database cannot be used"),
        ("postgresql://me:secret@127.0.0.1:1/gaia?nonsense=1", 6, "the database cannot be used"),
        ("sqlite:////proc/gaia/db.sqlite3", 6, "the database cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used(bare: CommandLine, url: str, code: int, says: str) -> None:
    said = bare("session", "list", GAIA_DATABASE_URL=url)
    said.mistake(code)
    assert says in said.err
    assert "secret" not in said.err


@pytest.fixture(scope="module")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a database of its own that has been used."""
    place = tmp_path_factory.mktemp("used")
    assert CommandLine(place, GAIA_HOME=str(place / "home"), GAIA_DATABASE_URL="")("token", "x").code == 0
    return place / "home"


@pytest.fixture
def used(used_home: Path, tmp_path: Path) -> CommandLine:
    shutil.copytree(used_home, tmp_path / "home")
    line = CommandLine(tmp_path, GAIA_HOME=str(tmp_path / "home"), GAIA_DATABASE_URL="")
    assert line("operation", "list").code == 0
    return line


def test_a_database_that_is_none_any_more(used: CommandLine, tmp_path: Path) -> None:
    for path in (tmp_path / "home" / "data").glob("gaia.sqlite3*"):
        path.write_text("rubbish " * 1000)
    lines = used("operation", "list").mistake(6)
    assert "the database does not answer" in lines[0]


def test_a_database_that_lost_its_tables_gets_them_again(used: CommandLine, tmp_path: Path) -> None:
    for path in (tmp_path / "home" / "data").glob("gaia.sqlite3*"):
        path.unlink()
    with sqlite3.connect(tmp_path / "home" / "data" / "gaia.sqlite3") as other:
        other.execute("CREATE TABLE something_else (x)")
    lines = used("operation", "list").mistake(6)
    assert lines[0] == "gaia: the database has lost its tables"
    assert used("operation", "list").out == "No operations yet.\n"


def test_a_database_that_was_removed_or_emptied_is_made_anew(used: CommandLine, tmp_path: Path) -> None:
    for path in (tmp_path / "home" / "data").glob("gaia.sqlite3*"):
        path.unlink()
    (tmp_path / "home" / "data" / "gaia.sqlite3").touch()
    assert used("operation", "list").out == "No operations yet.\n"


def test_another_projects_settings_are_none_of_ours(cli: CommandLine) -> None:
    environ = {"DJANGO_SETTINGS_MODULE": "shop.settings", "PYTHONPATH": "/nowhere"}
    assert cli("operation", "list", **environ).out == "No operations yet.\n"
    assert "no issues" in cli("manage", "check", **environ).out


def test_two_first_starts_at_once(tmp_path: Path, bare: CommandLine) -> None:
    both = [bare.start("session", "list"), bare.start("session", "list")]
    answers = [process.communicate(timeout=90) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers


# Pipes and terminals


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


def test_a_full_disk_is_no_traceback(bare: CommandLine) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{ROOT}/gaia" --help >/dev/full'], capture_output=True, text=True, timeout=60,
        env={**os.environ, **bare.environ},
    )  # fmt: skip
    assert done.returncode == 6
    assert done.stderr.splitlines() == [
        "gaia: No space left on device",
        "  It was not finished; nothing is left half-written.",
        "  Make room and run it again.",
    ]


def test_a_terminal_without_unicode_gets_question_marks(bare: CommandLine) -> None:
    said = bare("status", PYTHONIOENCODING="latin-1", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert said.code == 1
    assert "GAIA is down" in said.out


def test_ctrl_c(cli: CommandLine) -> None:
    terminal = cli.on_a_terminal("passwd")
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


def completed(cli: CommandLine, *words: str) -> list[str]:
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    script = f"""source <(gaia completion bash)
        COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _gaia; printf '%s\\n' "${{COMPREPLY[@]}}" """
    environ = {**os.environ, **cli.environ, "PATH": f"{ROOT}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, env=environ, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_completion_in_bash(cli: CommandLine) -> None:
    assert completed(cli, "gaia", "st") == ["status"]
    assert completed(cli, "gaia", "env", "l") == ["list", "launch"]
    assert completed(cli, "./gaia", "session", "start", "--g") == ["--group"]
    assert completed(cli, "gaia", "session", "--json", "st") == ["start", "stop"]
    assert completed(cli, "gaia", "env", "launch", "dev1", "st") == ["staging"]
    assert completed(cli, "gaia", "completion", "") == ["--help", "bash", "zsh"]
    assert completed(cli, "gaia", "nonsense", "") == []


def test_completion_knows_the_sessions_there_are(cli: CommandLine) -> None:
    assert cli("session", "start", "--group", "pr_review").code == 0
    assert completed(cli, "gaia", "attach", "pr_") == ["pr_review1", "pr_review2", "pr_review3"]
    assert completed(cli, "gaia", "attach", "pr_review1", "pr_") == []
    assert completed(cli, "gaia", "session", "destroy", "pr_review1", "pr_review2") == ["pr_review2"]


def test_completion_for_zsh_is_the_same_behind_its_bridge(bare: CommandLine) -> None:
    bash, zsh = bare("completion", "bash").out, bare("completion", "zsh").out
    assert zsh.endswith(bash)
    assert "bashcompinit" in zsh.removesuffix(bash)


# Management commands


MANAGE = [sys.executable, str(ROOT / "manage.py")]


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
    done = subprocess.run(
        [*MANAGE, *command.split()],
        cwd=cli.cwd,
        env={**os.environ, **cli.environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (said.code, said.out, said.err)


@pytest.mark.parametrize(
    "command", ["start_sessions", "stop_sessions", "setup_envs", "group_status", "multi_env_status"]
)
def test_management_commands_show_the_verbs_help(cli: CommandLine, command: str) -> None:
    environ = {**os.environ, **cli.environ}
    for words in (["help", command], [command, "--help"]):
        done = subprocess.run([*MANAGE, *words], env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert done.stdout.startswith("usage: gaia ")
        assert "--json" in done.stdout


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
    done = subprocess.run(
        [*MANAGE, "gaia", verb], env={**os.environ, **cli.environ}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "this verb is run by the bootstrap" in done.stderr


def test_the_bootstrap_has_no_leftovers_running(bare: CommandLine) -> None:
    before = bare.start("--version")
    assert retry_until(lambda: before.poll() == 0, 30, raises=False)

"""What agents in a real tmux do, through the API; and `gaia session explain` of saved screens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from gaia_site.cli.__main__ import main
from sessions.states import AgentState
from tests.endpoints import client_of, problem
from tests.sessions.by_hand import Tmux, install
from tests.sessions.screens import HERE, screen, table
from tests.waiting import until

URL = "/api/orchestration/sessions/"
ROOT = Path(__file__).resolve().parents[2]

# A stub of an agent that draws what the file beside it shows, sets its title, and waits.
DRAWS = """printf '\\033]2;%s\\007\\033[2J\\033[H' "$(cat "$0.title")"
head -c -1 "$0.screen"
while read -r line; do [ "$line" = end ] && exit 0; done"""


@pytest.fixture
def api(operator: Any) -> APIClient:
    return client_of(operator.token)


def create(api: APIClient, name: str, provider: str) -> None:
    """Start a session."""
    assert api.post(URL, {"name": name, "provider": provider, "cwd": "/"}).status_code == 201


def agent_that_shows(api: APIClient, agents: Path, name: str, title: str = "") -> None:
    """The session `watched`, in which this is what claude shows."""
    program = install(agents, "claude", DRAWS)
    Path(f"{program}.screen").write_text(screen(name))
    Path(f"{program}.title").write_text(title)
    create(api, "watched", "claude")


def rest(api: APIClient, name: str = "watched", **expected: Any) -> dict[str, Any]:
    """The answer once the agent has drawn and is quiet, which must hold this."""
    told: dict[str, Any] = {}

    def looked() -> bool:
        told.update(api.get(f"{URL}{name}/explain/").json())
        return {key: told.get(key) for key in expected} == expected

    until(looked)
    return told


def test_what_an_agent_does(api: APIClient, tmux: Tmux, agents: Path) -> None:
    agent_that_shows(api, agents, "claude-80x24-shell", title="a title")
    until(lambda: rest(api, state="waiting", title="a title")["screen"][-1].startswith(" Esc to cancel"))
    told = rest(api, state="waiting")
    assert told.pop("age_s") >= 0
    assert told.pop("command") in {"sh", "claude"}  # it begins as the one and calls itself the other
    assert " Do you want to proceed?" in told.pop("screen")
    assert told == {
        "session": "watched",
        "provider": "claude",
        "state": "waiting",
        "source": "screen",
        "rule": "permission",
        "version": 1,
        "seen": "Do you want to proceed?",
        "runs": "agent",
        "title": "a title",
    }


def test_idle_when_it_has_rested_and_exited_when_it_has_ended(api: APIClient, tmux: Tmux, agents: Path) -> None:
    agent_that_shows(api, agents, "claude-80x24-interrupted")
    assert rest(api, state="idle")["age_s"] >= 1.5
    api.post(f"{URL}watched/send-keys/", {"text": "end"})
    told = rest(api, state="exited", source="process")
    assert (told["rule"], told["version"]) == ("pane-dead", None)


def test_a_shell_in_an_agents_place(api: APIClient, tmux: Tmux) -> None:
    create(api, "watched", "claude")  # claude is not installed
    assert rest(api, state="exited")["rule"] == "shell"
    create(api, "mine", "system")
    assert rest(api, "mine", state="idle", rule="shell")["version"] is None


def test_sessions_that_cannot_be_looked_at(api: APIClient, tmux: Tmux) -> None:
    problem(api.get(f"{URL}nobody/explain/"), 404)
    create(api, "watched", "system")
    api.delete(f"{URL}watched/")
    problem(api.get(f"{URL}watched/explain/"), 409)


def explained(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What is said of a saved screen, as data."""
    assert main(["session", "explain", *words, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_saved_screens(home: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for one in table()[::12]:
        told = explained(
            capsys, "--screen", str(HERE / f"{one.name}.txt"), "--provider", one.provider, "--title", one.title
        )
        assert (told["state"], told["rule"]) == (one.state, one.rule)
        assert told["provider"] == one.provider
    assert main(["session", "explain", "--screen", str(HERE / "claude-80x24-shell.txt"), "--provider", "claude"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "claude: waiting"


@pytest.mark.parametrize(
    "data",
    [b"", b"\n" * 1000, b"\xff\xfe\x00\x80" * 500, bytes(range(256)) * 100, b"x" * 5_000_000, b"\x1b]" * 50_000],
    ids=["empty", "blank", "no UTF-8", "every byte", "long", "escapes"],
)
@pytest.mark.parametrize("provider", ["claude", "codex", "gemini", "ollama", "system"])
def test_saved_screens_of_any_bytes(
    home: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, provider: str
) -> None:
    path = tmp_path / "screen"
    path.write_bytes(data)
    told = explained(capsys, "--screen", str(path), "--provider", provider, "--title", "\udcff\x1b[2J\n")
    assert told["state"] in {*AgentState.values} - {"detecting"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no session is named"),
        (["--screen", "{tmp}/none", "--provider", "claude"], "cannot be read: No such file"),
        (["--screen", "{tmp}", "--provider", "claude"], "cannot be read: Is a directory"),
        (["--screen", "\0", "--provider", "claude"], "cannot be read"),
        (["--screen", "{tmp}/none"], "no provider is named"),
        (["--screen", "{tmp}/none", "--provider", "cloud"], "there is no provider 'cloud'"),
        (["watched", "--screen", "{tmp}/none", "--provider", "claude"], "together are not clear"),
        (["watched", "--title", "x"], "belong to --screen"),
    ],
)
def test_what_cannot_be_explained(
    home: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["session", "explain", *(word.format(tmp=tmp_path) for word in words)]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""


def test_rules_with_a_mistake_are_told(home: Any, capsys: pytest.CaptureFixture[str]) -> None:
    directory = home.root / "providers"
    directory.mkdir()
    (directory / "mine.yaml").write_text("version: 1\nname: mine\nlabel: Mine\nscreen: {version: none}\n")
    assert main(["session", "explain", "--screen", "-", "--provider", "claude"]) == 2
    assert "mine.yaml:4: screen.version" in capsys.readouterr().err


def test_without_database_daemon_and_django(tmp_path: Path) -> None:
    """Standard input, a home that does not exist; and a Python in which Django cannot be imported."""
    hidden = "import sys; sys.modules['django'] = None; from gaia_site.cli.__main__ import main; sys.exit(main())"
    words = ["session", "explain", "--screen", "-", "--provider", "codex", "--title", "⠼ shop", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", hidden, *words],
        cwd=ROOT,
        env={**os.environ, "GAIA_HOME": str(tmp_path / "none")},
        input=screen("codex-120x40-streaming").replace("\n", "\r\n").encode(),
        capture_output=True,
        timeout=90,
        check=True,
    )
    assert json.loads(done.stdout) == {
        "provider": "codex",
        "state": "working",
        "source": "title",
        "rule": "title",
        "version": 1,
        "seen": "⠼ shop",
    }
    assert not (tmp_path / "none").exists()

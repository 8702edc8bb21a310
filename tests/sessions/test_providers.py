"""Which program a session gets, on this PATH, and what it says when it gets none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from common.errors import InvalidInput
from sessions.providers import SHIPPED, Launch, Provider, load_providers, resolve

PROVIDERS = load_providers()


def install(directory: Path, *programs: str) -> str:
    """A PATH with these programs on it."""
    directory.mkdir(exist_ok=True)
    for name in programs:
        program = directory / name
        program.write_text(f'#!/bin/sh\necho "{name} $*"\n')
        program.chmod(0o755)
    return str(directory)


def run(launch: Launch) -> str:
    env = {"PATH": "/usr/bin:/bin", **launch.env}
    done = subprocess.run(launch.argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_shipped_providers() -> None:
    assert list(PROVIDERS) == ["claude", "codex", "gemini", "ollama", "system"]
    assert {name: provider.programs for name, provider in PROVIDERS.items()} == {
        "claude": ("claude",),
        "codex": ("codex",),
        "gemini": ("gemini",),
        "ollama": ("opencode", "codex"),
        "system": (),
    }
    assert [provider.enter_delay for provider in PROVIDERS.values()] == [0.15, 0.15, 0.5, 0.15, 0.0]
    assert "npm install" in PROVIDERS["claude"].install_hint
    assert PROVIDERS["system"].install_hint == ""


@pytest.mark.parametrize(
    ("name", "installed", "says"),
    [
        ("claude", ["claude", "codex"], "claude --permission-mode manual"),
        ("codex", ["claude", "codex"], "codex "),
        ("gemini", ["gemini"], "gemini "),
        ("ollama", ["codex", "opencode"], "opencode "),
        ("ollama", ["codex"], "codex --oss"),
    ],
)
def test_the_first_program_that_is_installed_is_run(tmp_path: Path, name: str, installed: list[str], says: str) -> None:
    path = install(tmp_path / "bin", *installed)
    launch = resolve(PROVIDERS[name], f"/nonexistent:{path}")
    assert (launch.runs, launch.reason) == ("agent", "")
    assert launch.program == launch.argv[0] == f"{path}/{says.split()[0]}"
    assert run(launch) == f"{says}\n"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("claude", "claude is not installed (looked for: claude); a shell runs instead"),
        ("ollama", "ollama is not installed (looked for: opencode, codex); a shell runs instead"),
    ],
)
def test_without_it_a_shell_runs_and_says_why(tmp_path: Path, name: str, reason: str) -> None:
    launch = resolve(PROVIDERS[name], install(tmp_path / "bin", "other"), shell="/bin/sh")  # noqa: S604, a path
    assert (launch.runs, launch.program, launch.reason) == ("shell", None, reason)
    assert launch.env == {}
    said = run(launch)
    assert reason in said
    assert "npm install" in said


def test_the_shell_is_the_only_process_left(tmp_path: Path) -> None:
    shell = tmp_path / "odd $(shell) 'x"
    shell.write_text('#!/bin/sh\necho "pid $$ args $#"\n')
    shell.chmod(0o755)
    launch = resolve(PROVIDERS["gemini"], "", shell=str(shell))
    process = subprocess.Popen(launch.argv, stdout=subprocess.PIPE, text=True)
    assert process.communicate()[0].splitlines()[-1] == f"pid {process.pid} args 0"


@pytest.mark.parametrize(
    ("wanted", "variable", "shell"),
    [
        ("/bin/sh", "/bin/bash", "/bin/sh"),
        (None, "/bin/bash", "/bin/bash"),
        ("/nonexistent", "/bin/bash", "/bin/bash"),
        ("sh", "bash", "/bin/sh"),
        (None, None, "/bin/sh"),
        ("", "", "/bin/sh"),
    ],
)
def test_a_system_session_is_a_shell_with_nothing_to_explain(
    wanted: str | None, variable: str | None, shell: str
) -> None:
    environ = {} if variable is None else {"SHELL": variable}
    launch = resolve(PROVIDERS["system"], "/usr/bin", shell=wanted, environ=environ)
    assert launch == Launch((shell,), {}, "shell", None, "")


def test_only_programs_on_the_given_path_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = install(tmp_path / "bin", "claude")
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    monkeypatch.chdir(path)
    for given in ("", ".", ":", "bin", "/usr/bin"):
        assert resolve(PROVIDERS["claude"], given).runs == "shell"


def test_a_file_that_is_no_program_does_not_count(tmp_path: Path) -> None:
    path = install(tmp_path / "bin", "claude")
    (tmp_path / "bin" / "claude").chmod(0o644)
    (tmp_path / "bin" / "gemini").mkdir()
    assert resolve(PROVIDERS["claude"], path).runs == "shell"
    assert resolve(PROVIDERS["gemini"], path).runs == "shell"


def test_an_agent_gets_its_own_variables_and_no_others_secrets(tmp_path: Path) -> None:
    path = install(tmp_path / "bin", "claude", "opencode")
    environ = {
        "ANTHROPIC_API_KEY": "a",
        "OPENAI_API_KEY": "o",
        "OLLAMA_HOST": "http://gpu:11434",
        "OLLAMA_X": "",
        "SECRET": "s",
    }
    claude = resolve(PROVIDERS["claude"], path, environ=environ)
    assert claude.env == {"ANTHROPIC_API_KEY": "a", "DISABLE_AUTOUPDATER": "1"}
    assert resolve(PROVIDERS["ollama"], path, environ=environ).env == {"OLLAMA_HOST": "http://gpu:11434"}
    assert resolve(PROVIDERS["codex"], path, environ=environ).env == {}, "a shell is given no keys"


def test_an_operators_file_adds_or_replaces(tmp_path: Path) -> None:
    text = (SHIPPED / "claude.yaml").read_text()
    (tmp_path / "claude.yaml").write_text(text.replace("label: Claude Code", "label: Ours"))
    (tmp_path / "aider.yaml").write_text("version: 1\nname: aider\nlabel: Aider\ncandidates: [{program: aider}]\n")
    (tmp_path / "notes.txt").write_text("not read")
    found = load_providers(tmp_path)
    assert list(found) == ["claude", "codex", "gemini", "ollama", "aider", "system"]
    assert found["claude"].label == "Ours"
    assert found["aider"].install_hint == "Install aider and put it on PATH."
    assert load_providers(tmp_path / "none") == PROVIDERS
    assert load_providers() == PROVIDERS


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("version: 1\nname: other\nlabel: X\n", "other"),
        ("version: 2\nname: mine\nlabel: X\n", "version"),
        ("version: 1\nname: mine\n", "label is missing"),
        ("version: 1\nname: mine\nlabel: X\ncandidates: [{program: /bin/sh}]\n", "PATH is searched"),
        ("version: 1\nname: mine\nlabel: X\ncandidates: [{program: '../sh'}]\n", "PATH is searched"),
        ("version: 1\nname: mine\nlabel: X\ncandidates: [{program: sh, argv: -c}]\n", "argv"),
        ("version: 1\nname: mine\nlabel: X\ncandidates: [{program: sh, env: {A: 1}}]\n", "env.A"),
        ("version: 1\nname: mine\nlabel: X\ncandidates: [{program: sh, pass_env: [a-b]}]\n", "environment variable"),
        ("version: 1\nname: mine\nlabel: X\nname_patterns: ['(']\n", "regular expression"),
        ("version: 1\nname: a.b\nlabel: X\n", "not a valid provider name"),
        ("version: 1\nname: mine\nlabel: X\nenter_delay_ms: -1\n", "enter_delay_ms"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as error:
        load_providers(tmp_path)
    assert what in error.value.what
    assert error.value.what.startswith(f"{path}:")


def test_providers_cannot_be_changed_by_who_reads_them() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PROVIDERS["claude"].name = "x"  # type: ignore[misc]
    assert isinstance(PROVIDERS["claude"], Provider)

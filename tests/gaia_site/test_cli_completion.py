"""What Tab offers in bash and zsh."""

from __future__ import annotations

import os
import subprocess

from tests.gaia_site.command_line import ROOT, CommandLine


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


def test_completion_knows_the_services_there_are(cli: CommandLine) -> None:
    """By name, and nothing else that has a name, such as their probes."""
    probe = '"probes": [{"type": "exec", "command": "true", "name": "probe-x"}]'
    made = cli("service", "register", "-", stdin=f'{{"name": "pr-api", "command": "true", {probe}}}')
    assert made.code == 0, made
    cli("service", "register", "--name", "pr-web", "--depends-on", "pr-api", "--", "true")
    assert completed(cli, "gaia", "service", "show", "pr") == ["pr-api", "pr-web"]
    assert completed(cli, "gaia", "service", "start", "pr-api", "pr-w") == ["pr-web"]
    assert completed(cli, "gaia", "service", "logs", "--f") == ["--follow"]


def test_completion_for_zsh_is_the_same_behind_its_bridge(bare: CommandLine) -> None:
    bash, zsh = bare("completion", "bash").out, bare("completion", "zsh").out
    assert zsh.endswith(bash)
    assert "bashcompinit" in zsh.removesuffix(bash)


# Management commands

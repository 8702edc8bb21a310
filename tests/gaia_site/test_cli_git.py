"""`gaia env git …` and `gaia env snapshots`, as a person and as a script call them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from processes.models import Operation
from tests.environments.drivers.repositories import commit, git, make_repository
from tests.environments.places import Place, free_ports
from tests.gaia_site.command_line import CommandLine

TEXT = "".join(f"line {number}\n" for number in range(1, 21))


@pytest.fixture
def shop(cli: CommandLine, acting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Environments shop-dev1 and shop-dev2 on the command line's installation."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    source = make_repository(tmp_path / "code" / "shop", {"text": TEXT, "README.md": "hello\n"})
    with free_ports() as base:
        place = Place(tmp_path / "code", source, base)
        place.set_up(2, base_port=base)
        yield place


def collide(shop: Place, number: int = 1) -> Path:
    """The source and a checkout change the same line."""
    commit(shop.source, {"text": TEXT.replace("line 7\n", "theirs\n")}, "Theirs")
    commit(shop.path(number), {"text": TEXT.replace("line 7\n", "ours\n")}, "Ours")
    return shop.path(number)


def test_a_day_of_work(cli: CommandLine, shop: Place) -> None:
    path = shop.path(1)
    assert cli("env", "git", "feature", "dev1", "caching").out == "feature/caching starts from origin/main\n"
    (path / "text").write_text(TEXT.replace("line 3\n", "line three\n"))
    (path / "new.txt").write_text("new\n")

    shown = cli("env", "git", "status", cwd=path).lines  # nobody was named: the one stood in
    assert shown[0].split() == ["✓", "shop-dev1", "feature/caching", "✎2"]
    assert [line.split() for line in shown[1:]] == [
        ["M", "text", "+1", "−1", "+-"],
        ["?", "new.txt"],
        ["1", "file,", "+1", "−1"],
    ]

    said = cli("env", "git", "commit", "dev1", "-m", "Words for numbers", "-m", "As people read them.")
    assert said.out.startswith("Committed ")
    assert git(path, "log", "-1", "--format=%B") == "Words for numbers\n\nAs people read them."
    assert (
        cli("env", "git", "log", "shop-dev1", "-n", "1")
        .out.rstrip()
        .endswith("Words for numbers (HEAD -> feature/caching)")
    )
    assert cli("env", "git", "push", "dev1", "--json").data["branch"] == "feature/caching"
    assert git(shop.environment(1).project.hub, "rev-parse", "feature/caching") == git(path, "rev-parse", "HEAD")


def test_a_diff_that_is_piped_is_plain_and_complete(cli: CommandLine, shop: Place) -> None:
    path = shop.path(1)
    (path / "text").write_text(TEXT.replace("line 10\n", "line ten\n"))
    (path / "new.txt").write_text("new\n")
    said = cli("env", "git", "diff", "dev1")
    theirs = [line for line in git(path, "diff").splitlines() if not line.startswith("index ")]
    assert [line.partition(" @@")[0] for line in said.lines] == [line.partition(" @@")[0] for line in theirs]
    assert said.err == "1 untracked file is not shown: --stat names them.\n"
    assert cli("env", "git", "diff", "dev1", "--staged").out == ""
    assert cli("env", "git", "diff", "dev1", "--commit", "HEAD", "--json").data["added"] == 21
    assert "there is no branch, tag or commit" in cli("env", "git", "diff", "dev1", "--against", "x").mistake(2)[0]


def test_conflicts_name_the_files_and_the_next_step(cli: CommandLine, shop: Place) -> None:
    path = collide(shop)
    said = cli("env", "git", "sync", "dev1")
    lines = said.mistake(4)
    assert lines[0] == "gaia: shop-dev1 has conflicts in 1 file: text"
    assert "gaia env git continue shop-dev1" in said.err
    waiting = cli("env", "git", "status", "dev1").out
    assert "conflict  text" in waiting
    assert "gaia env git abort shop-dev1" in waiting

    refused = cli("env", "git", "continue", "dev1", "--json")
    assert (refused.code, refused.data["error"]["code"]) == (4, "git_conflicts")
    assert refused.data["error"]["detail"]["files"] == ["text"]
    (path / "text").write_text("both\n")
    assert cli("env", "git", "sync", "dev1", "--continue").out == "The merge is done\n"


def test_giving_up_and_bringing_back(cli: CommandLine, shop: Place) -> None:
    path = collide(shop)
    before = git(path, "rev-parse", "HEAD")
    cli("env", "git", "sync", "dev2")
    assert cli("env", "git", "rebase", "dev1").code == 4
    (path / "text").write_text("half resolved\n")
    said = cli("env", "git", "abort", "dev1")
    assert said.out == "The rebase is given up\n"
    assert git(path, "rev-parse", "HEAD") == before

    listed = cli("env", "snapshots", "dev1", "--json").data
    assert [each["reason"] for each in listed] == ["before rebase --abort", "before rebase"]
    name = listed[0]["name"]
    assert said.err == f"  How it was before: gaia env snapshots restore {name}\n"
    assert cli("env", "snapshots", "restore", name).out == f"shop-dev1 is as it was in {name}\n"
    assert (path / "text").read_text() == "half resolved\n"
    assert name in cli("env", "snapshots").out
    cli("env", "snapshots", "restore", "shop-dev1/20000101T000000Z").mistake(3)


def test_all_environments_at_once(cli: CommandLine, shop: Place) -> None:
    collide(shop, 1)
    said = cli("env", "git", "sync", "--all")
    assert said.code == 4, "the first error's"
    assert [line.split()[:2] for line in said.lines] == [["✗", "shop-dev1"], ["✓", "shop-dev2"]]
    assert Operation.objects.get(kind="environments.sync").subject == "project/shop", "the source is asked once"
    assert "gaia env git continue shop-dev1" in said.err

    again = cli("env", "git", "pull", "--all", "--json")
    assert [(each["environment"], each["outcome"]) for each in again.data] == [
        ("shop-dev1", "unchanged"), ("shop-dev2", "unchanged"),
    ]  # fmt: skip
    assert [each["in_progress"] for each in cli("env", "git", "status", "--all", "--json").data] == ["merge", ""]
    shop.source.rename(shop.source.with_name("elsewhere"))
    unreachable = cli("env", "git", "sync", "--all")
    assert (unreachable.code != 0, unreachable.lines[0].split()[:2]) == (True, ["✗", "shop"])
    cli("env", "git", "status", "--all", "dev1").mistake(2)
    cli("env", "git", "sync", "--all", "--abort").mistake(2)


def test_what_is_thrown_away_is_asked_about_once_on_a_terminal(cli: CommandLine, shop: Place) -> None:
    path = shop.path(1)
    (path / "new.txt").write_text("new\n")
    terminal = cli.on_a_terminal("env", "git", "clean", "dev1")
    asked = terminal.until("[y/N]")
    assert "Remove 1 untracked file of shop-dev1 (new.txt)? A snapshot keeps them." in asked
    terminal.type("n\n")
    assert (terminal.end(), (path / "new.txt").exists()) == (7, True)

    cleaned = cli("env", "git", "clean", "dev1")
    assert cleaned.lines == ["1 untracked file removed", "  new.txt"]
    (path / "text").write_text("gone\n")
    said = cli("env", "git", "reset", "dev1", "--hard", "--json").data
    assert (said["verb"], said["snapshot"].startswith("shop-dev1/")) == ("reset", True)
    assert (path / "text").read_text() == TEXT
    cli("env", "git", "delete-branch", "dev1", "env/dev1").mistake(4)
    assert cli("env", "git", "clean", "dev1", "--branches").out == "No branch is merged and can go\n"


def test_a_terminal_gets_colours(cli: CommandLine, shop: Place) -> None:
    (shop.path(1) / "text").write_text(TEXT.replace("line 10\n", "line ten\n"))
    terminal = cli.on_a_terminal("env", "git", "diff", "dev1", NO_COLOR="")
    assert terminal.end() == 0
    for text in ("\x1b[31m-line 10\x1b[0m", "\x1b[32m+line ten\x1b[0m", "\x1b[36m@@ -7,7 +7,7 @@"):
        assert text in terminal.shown


def test_nobody_is_meant(cli: CommandLine, shop: Place) -> None:
    lines = cli("env", "git", "status").mistake(2)
    assert lines[0] == "gaia: no environment was named, and you stand in none"
    assert lines[-1] == "  Name one of: shop-dev1, shop-dev2."
    cli("env", "git", "status", "dev9").mistake(3)
    cli("env", "snapshots", "restore").mistake(2)
    cli("env", "snapshots", "dev1", "x").mistake(2)


def test_the_management_command_is_the_same_verb(cli: CommandLine, shop: Place) -> None:
    assert cli.manage("env_git", "log", "dev1") == cli("env", "git", "log", "dev1")

"""Checkouts: made in one step, isolated, never over somebody else's directory."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from common.errors import Conflict, InvalidInput
from environments.drivers.checkout import inspect, submodules
from environments.drivers.git import GitTimedOut
from environments.drivers.git_index import UnknownIndex, read_index, settle
from environments.drivers.hub import create_or_update_hub
from tests.environments.drivers.repositories import commit, create_checkout, git, make_repository, slow_git, source_of

TIMEOUT_S = 60.0


@pytest.fixture
def hub(repository: Path, tmp_path: Path) -> Path:
    hub = tmp_path / "hub.git"
    create_or_update_hub(source_of(repository), hub, timeout=TIMEOUT_S)
    return hub


def create(hub: Path, path: Path, branch: str = "env/dev1", base: str = "main") -> str:
    return create_checkout(hub, path, branch=branch, base=base, timeout=TIMEOUT_S)


def test_a_checkout_has_its_branch_upstream_and_a_repository_of_its_own(hub: Path, tmp_path: Path) -> None:
    path = tmp_path / "demo-dev1"
    sha = create(hub, path)
    assert sha == git(hub, "rev-parse", "main")
    assert git(path, "status", "--porcelain=v2", "--branch").splitlines() == [
        f"# branch.oid {sha}",
        "# branch.head env/dev1",
        "# branch.upstream origin/main",
        "# branch.ab +0 -0",
    ]
    assert git(path, "branch", "--format=%(refname:short)") == "env/dev1"
    assert git(path, "fsck", "--full") == ""
    assert not (path / ".git/objects/info/alternates").exists()
    assert (path / "README.md").stat().st_nlink == 1
    assert sorted(os.listdir(tmp_path)) == [".hub.git.lock", "demo-dev1", "gitconfig", "hub.git", "source"]


def test_pushing_goes_to_the_branch_of_the_environment(hub: Path, tmp_path: Path) -> None:
    path = tmp_path / "demo-dev1"
    create(hub, path)
    sha = commit(path, {"x": "1"})
    git(path, "push", "-q")
    assert git(hub, "rev-parse", "env/dev1") == sha
    assert git(hub, "rev-parse", "main") != sha


def test_pushed_work_comes_back_when_the_checkout_is_made_again(hub: Path, tmp_path: Path) -> None:
    create(hub, tmp_path / "one")
    sha = commit(tmp_path / "one", {"x": "1"})
    git(tmp_path / "one", "push", "-q")
    assert create(hub, tmp_path / "two") == sha
    assert (tmp_path / "two/x").read_text() == "1"
    assert git(tmp_path / "two", "rev-parse", "--abbrev-ref", "@{upstream}") == "origin/main"


@pytest.mark.parametrize("base", ["topic", "v1", "{sha}"])
def test_a_branch_tag_or_commit_as_base(repository: Path, tmp_path: Path, base: str) -> None:
    old = git(repository, "rev-parse", "HEAD")
    git(repository, "branch", "topic")
    git(repository, "tag", "-a", "v1", "-m", "one")
    commit(repository, {"later": "1"})
    create_or_update_hub(source_of(repository), tmp_path / "hub.git", timeout=TIMEOUT_S)
    assert create(tmp_path / "hub.git", tmp_path / "dev", base=base.format(sha=old)) == old
    assert not (tmp_path / "dev/later").exists()


@pytest.mark.parametrize("base", ["nowhere", "--help", "", "main:README.md"])
def test_an_unknown_base_is_refused(hub: Path, tmp_path: Path, base: str) -> None:
    with pytest.raises(InvalidInput, match="to start from"):
        create(hub, tmp_path / "dev", base=base)
    assert not (tmp_path / "dev").exists()


def test_a_checkout_that_is_there_is_left_alone(hub: Path, tmp_path: Path) -> None:
    path = tmp_path / "dev"
    create(hub, path)
    sha = commit(path, {"x": "1"})
    (path / "README.md").write_text("edited")
    assert create(hub, path) == sha
    assert (path / "README.md").read_text() == "edited"


def facts_of(path: Path) -> tuple[int, ...]:
    """All that the file system knows of it but when it was looked at."""
    facts = path.lstat()
    return facts.st_mode, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


@pytest.mark.parametrize("kind", ["directory", "empty", "file", "repository", "link", "dangling", "other project"])
def test_what_is_not_ours_is_a_conflict_and_not_touched(hub: Path, repository: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "dev"
    if kind == "directory":
        path.mkdir()
        (path / "mine").write_text("x")
    elif kind == "empty":
        path.mkdir()
    elif kind == "file":
        path.write_text("mine")
    elif kind == "repository":
        make_repository(path)
    elif kind == "link":
        path.symlink_to(repository)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    else:
        other = tmp_path / "other.git"
        create_or_update_hub(source_of(repository), other, timeout=TIMEOUT_S)
        create(other, path)
    before = facts_of(path)
    with pytest.raises(Conflict):
        create(hub, path)
    assert facts_of(path) == before
    assert not list(tmp_path.glob(".dev.gaia-partial-*"))


def test_facts_about_a_checkout(hub: Path, tmp_path: Path) -> None:
    path = tmp_path / "dev"
    assert not inspect(path).exists
    sha = create(hub, path)
    facts = inspect(path)
    assert (facts.exists, facts.is_ours, facts.branch, facts.head) == (True, True, "env/dev1", sha)
    assert (facts.environment, facts.hub) == ("dev", str(hub))
    git(path, "checkout", "-q", "--detach")
    assert inspect(path).branch == ""
    (path / ".git/gaia.json").write_text("{broken")
    assert not inspect(path).is_ours
    (path / ".git/gaia.json").write_text(json.dumps([1]))
    assert not inspect(path).is_ours


def test_hooks_and_commands_of_the_source_do_not_run(repository: Path, tmp_path: Path) -> None:
    template = tmp_path / "template/hooks"
    template.mkdir(parents=True)
    (template / "post-checkout").write_text(f"#!/bin/sh\ntouch '{tmp_path}/hooked'\n")
    (template / "post-checkout").chmod(0o755)
    with open(tmp_path / "gitconfig", "a") as configuration:
        configuration.write(f"[init]\n\ttemplateDir = {tmp_path}/template\n")
    hub = tmp_path / "hub.git"
    create_or_update_hub(source_of(repository), hub, timeout=TIMEOUT_S)
    create(hub, tmp_path / "dev")
    assert not (tmp_path / "hooked").exists()
    # but the user's own templates are there for the user, as in any clone
    assert (tmp_path / "dev/.git/hooks/post-checkout").exists()
    assert not (hub / "hooks/post-checkout").exists()


def test_large_file_pointers_stay_pointers(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
    files = {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "big.bin": pointer}
    repository = make_repository(tmp_path / "source", files)
    with open(tmp_path / "gitconfig", "a") as configuration:
        configuration.write(
            '[filter "lfs"]\n\tsmudge = no-such-program\n\tprocess = no-such-program\n\trequired = true\n'
        )
    hub = tmp_path / "hub.git"
    create_or_update_hub(source_of(repository), hub, timeout=TIMEOUT_S)
    create(hub, tmp_path / "dev")
    assert (tmp_path / "dev/big.bin").read_text() == pointer


def test_submodules_are_named_and_left_alone(repository: Path, tmp_path: Path) -> None:
    make_repository(tmp_path / "library")
    git(repository, "submodule", "--quiet", "add", tmp_path / "library", "vendor/my library")
    git(repository, "commit", "-qm", "library")
    hub = tmp_path / "hub.git"
    create_or_update_hub(source_of(repository), hub, timeout=TIMEOUT_S)
    create(hub, tmp_path / "dev")
    assert submodules(tmp_path / "dev") == ("vendor/my library",)
    assert os.listdir(tmp_path / "dev/vendor/my library") == []
    assert git(tmp_path / "dev", "status", "--porcelain") == ""
    assert submodules(tmp_path / "library") == ()


@pytest.mark.parametrize("subcommand", ["clone", "reset"])
def test_a_git_that_hangs_leaves_nothing(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subcommand: str
) -> None:
    monkeypatch.setenv("PATH", slow_git(tmp_path / "bin", subcommand))
    with pytest.raises(GitTimedOut):
        create_checkout(hub, tmp_path / "dev", branch="env/dev1", base="main", timeout=2)
    assert not [name for name in os.listdir(tmp_path) if "dev" in name]


# -- the index


def index_facts(path: Path) -> dict[str, str]:
    """File → inode and time of modification in the index, as git prints them."""
    facts: dict[str, str] = {}
    name = ""
    for line in git(path, "ls-files", "--debug").splitlines():
        if not line.startswith("  "):
            name = line
        elif line.startswith(("  mtime", "  dev")):
            facts[name] = facts.get(name, "") + line
    return facts


def disk_facts(path: Path, names: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        facts = (path / name).lstat()
        seconds, nanoseconds = divmod(facts.st_mtime_ns, 10**9)
        found[name] = f"  mtime: {seconds}:{nanoseconds}  dev: {facts.st_dev}\tino: {facts.st_ino}"
    return found


@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_a_rewritten_index_has_the_facts_of_the_copied_files(tmp_path: Path, version: str, object_format: str) -> None:
    path = tmp_path / "one"
    path.mkdir()
    git(path, "init", "-q", f"--object-format={object_format}")
    names = ["a", "a b", "deep/er/file", "deep/er/file2", "deep/x", "z" * 200, "ä"]
    commit(path, {name: name for name in names})
    os.symlink("nowhere", path / "link")
    git(path, "add", "link")
    git(path, "update-index", "--index-version", version)
    if version == "3":  # which git only uses for entries with extended flags
        (path / "later").write_text("x")
        git(path, "add", "-N", "later")
    subprocess.run(["cp", "-R", "-P", path, tmp_path / "two"], check=True)
    index = read_index(path / ".git/index", object_format)
    settle(tmp_path / "two", index)
    index.write(tmp_path / "two/.git/index", tmp_path / "two")
    listed = git(tmp_path / "two", "-c", "core.quotePath=false", "ls-files").splitlines()
    assert len(listed) == len(names) + (2 if version == "3" else 1)
    quoted = [name for name in listed if name != "ä"]
    facts = index_facts(tmp_path / "two")
    assert {name: facts[name] for name in quoted} == disk_facts(tmp_path / "two", quoted)
    assert git(tmp_path / "two", "fsck") == ""
    assert git(tmp_path / "two", "status", "--porcelain") == git(path, "status", "--porcelain")


def test_the_rewritten_index_still_notices_a_change_of_the_same_size(hub: Path, tmp_path: Path) -> None:
    path = tmp_path / "dev"
    create(hub, path)
    (path / "README.md").write_text("HELLO\n")
    assert git(path, "status", "--porcelain") == "M README.md"


def test_the_index_of_a_new_checkout_is_older_than_nothing(hub: Path, tmp_path: Path) -> None:
    path = tmp_path / "dev"
    create(hub, path)
    index = (path / ".git/index").stat().st_mtime_ns
    assert all((path / name).stat().st_mtime_ns < index - 10**9 for name in ("README.md", "app/main.py", "app"))
    assert index_facts(path) == disk_facts(path, ["README.md", "app/main.py"])


@pytest.mark.parametrize("damage", [b"XXXX", b"DIRC\0\0\0\x05\0\0\0\0", b"DIRC\0\0\0\x02\0\0\0\x07"])
def test_an_unknown_index_is_not_guessed_at(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "index").write_bytes(damage.ljust(60, b"\0"))
    with pytest.raises(UnknownIndex):
        read_index(tmp_path / "index", "sha1")


def test_a_split_index_is_not_guessed_at(repository: Path) -> None:
    git(repository, "update-index", "--split-index")
    with pytest.raises(UnknownIndex):
        read_index(repository / ".git/index", "sha1")

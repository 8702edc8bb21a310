"""Finding the repository that somebody means."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from common.errors import GaiaError, InvalidInput, NotFound
from common.names import check_name
from environments.drivers.git import GitError
from environments.drivers.source import resolve_source
from tests.environments.drivers.repositories import git, make_repository


@pytest.mark.parametrize("text", ["source", "./source", "source/", "source/app", "{}/source", "source/.git"])
def test_a_local_repository_is_found_from_anywhere_inside(repository: Path, tmp_path: Path, text: str) -> None:
    source = resolve_source(text.format(tmp_path), tmp_path)
    assert (source.path, source.url, source.name) == (repository, str(repository), "source")


def test_home_directory_is_understood(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_source("~/source", Path("/")).path == repository


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("two words", "two-words"),
        ("with..dots", "with-dots"),
        ("a:b", "a-b"),
        (".hidden", "hidden"),
        ("x.git", "x"),
        ("-dash", "dash"),
        ("Grüße", "Grue"),
        ("日本", "project"),
    ],
)
def test_the_name_is_valid_whatever_the_directory_is_called(tmp_path: Path, directory: str, name: str) -> None:
    make_repository(tmp_path / directory)
    source = resolve_source(str(tmp_path / directory), tmp_path)
    assert source.path == tmp_path / directory
    assert check_name(source.name) == name


def test_a_bare_repository_is_a_source(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", repository, tmp_path / "shop.git")
    source = resolve_source("shop.git", tmp_path)
    assert (source.path, source.name) == (tmp_path / "shop.git", "shop")


def test_a_worktree_is_a_source(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", tmp_path / "tree")
    assert resolve_source("tree", tmp_path).path == tmp_path / "tree"


def test_a_file_address_is_also_known_by_its_path(repository: Path, tmp_path: Path) -> None:
    source = resolve_source(f"file://{repository}", tmp_path)
    assert (source.url, source.path, source.name) == (f"file://{repository}", repository, "source")


@pytest.mark.parametrize("text", ["nothing", "source/README.md", "source/README.md/below"])
def test_what_does_not_exist_is_not_found(repository: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(NotFound):
        resolve_source(text, tmp_path)


def test_a_directory_without_repository_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(InvalidInput, match="not a git repository") as raised:
        resolve_source("plain", tmp_path)
    assert "init" in raised.value.fix


@pytest.mark.parametrize("as_url", [False, True])
def test_an_empty_repository_is_refused(tmp_path: Path, as_url: bool) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    text = f"file://{tmp_path}/empty" if as_url else "empty"
    with pytest.raises(InvalidInput, match="no commits yet"):
        resolve_source(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "  ", "--upload-pack=touch x", "-x", "ext::sh -c true", "fd::7", "ftp://host/x.git", "foo://host/x", "a\nb"],
)
def test_options_helpers_and_unknown_addresses_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput):
        resolve_source(text, tmp_path)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:1/x.git", "git://127.0.0.1:1/x.git", "ssh://127.0.0.1:1/x.git", "u@127.0.0.1:x/y.git"]
)
def test_a_server_that_does_not_answer_is_unavailable(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=2 -p 1")
    with pytest.raises(GitError) as raised:
        resolve_source(text, tmp_path)
    assert raised.value.exit_code == 6
    assert raised.value.subcommand == "ls-remote"


def test_passwords_in_addresses_are_masked(tmp_path: Path) -> None:
    with pytest.raises(GitError) as raised:
        resolve_source("http://me:sesame@127.0.0.1:1/x.git", tmp_path)
    assert "sesame" not in str(raised.value.as_dict())


def test_a_directory_that_may_not_be_read_is_refused(repository: Path) -> None:
    """Root may read everything, so a child gives its rights up first."""
    repository.chmod(0)
    try:
        code = _exit_code_without_rights(repository)
    finally:
        repository.chmod(0o755)
    assert code == 5


def _exit_code_without_rights(path: Path) -> int:
    pid = os.fork()
    if pid == 0:
        result = 99
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            resolve_source(str(path), Path("/"))
            result = 0
        except GaiaError as error:
            result = error.exit_code
        finally:
            os._exit(result)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_partial_clone_is_refused(repository: Path, tmp_path: Path) -> None:
    git(repository, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{repository}", tmp_path / "partial")
    with pytest.raises(InvalidInput, match="partial clone"):
        resolve_source("partial", tmp_path)


def test_nothing_is_written_into_the_source(repository: Path, tmp_path: Path) -> None:
    for file in (repository / ".git").rglob("*"):
        if file.is_file():
            file.chmod(stat.S_IRUSR)
    before = sorted(str(file) for file in repository.rglob("*"))
    resolve_source("source", tmp_path)
    assert sorted(str(file) for file in repository.rglob("*")) == before
    shutil.rmtree(repository)

"""Where a project comes from: a path or an address that somebody typed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from common.errors import InvalidInput, NotFound, Refused
from common.names import slugify
from common.redaction import mask_url
from environments.drivers.git import GitError, Repository, run_git

_SCHEMES = ("https", "http", "ssh", "git", "file", "git+ssh", "ssh+git")
_URL = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_HELPER = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*::")
_SCP_LIKE = re.compile(r"^(?:[^\s/@:]+@)?[A-Za-z0-9._-]+:(?!/{0,1}$)[^\s]+$")
_FORMS = "Give a directory, or an address such as https://host/project.git or git@host:project.git."
REACH_S = 30.0
"""Seconds a server has to answer."""


@dataclass(frozen=True)
class Source:
    """A repository to work on.

    Args:
        url: what git is given: an absolute path or an address (it may hold credentials: mask before showing).
        path: the repository's top directory when it is on this machine.
        name: a valid project name made from it.
    """

    url: str
    path: Path | None
    name: str


def resolve_source(text: str, cwd: Path) -> Source:
    """Find the repository that somebody means.

    Args:
        text: a directory inside or of a repository, absolute, relative to `cwd` or with `~`, or an address
            (https, ssh, git, file, scp-like).
        cwd: where relative paths start.

    Raises: InvalidInput (no repository, no commits, an option, an unsupported kind of address), NotFound, Refused
        (no permission), GitError (a server that does not answer or refuses).
    """
    text = text.strip()
    if not text or text.startswith("-") or _HELPER.match(text) or any(ord(char) < 32 for char in text):
        raise InvalidInput(
            f"{mask_url(text)!r} is not a repository GAIA can use",
            meaning="Options and remote helpers (`ext::` and the like) can run commands, so they are refused.",
            fix=_FORMS,
        )
    path = Path(os.path.join(cwd, os.path.expanduser(text)))
    scheme = _URL.match(text)
    if scheme is None and (os.path.lexists(path) or not _SCP_LIKE.match(text)):
        return _local(path, text)
    if scheme is not None and scheme["scheme"].lower() not in _SCHEMES:
        raise InvalidInput(f"addresses with {scheme['scheme']}:// are not supported", fix=_FORMS)
    return _remote(text)


def _local(path: Path, text: str) -> Source:
    _check_readable(path, text)
    found = run_git(
        "rev-parse", "--path-format=absolute", "--git-dir", "--is-bare-repository", "--show-toplevel",
        place=["-C", str(path)], timeout=10, check=False,
    )  # fmt: skip
    git_dir, is_bare, top = (*found.stdout.split("\n"), "", "")[:3]
    if not is_bare:
        if "not a git repository" not in found.stderr:  # dubious ownership, a broken config: git's words explain it
            raise GitError(f"git cannot use {path}", subcommand="rev-parse", stderr=found.stderr)
        raise InvalidInput(
            f"{path} is not a git repository",
            meaning="Environments are made by cloning, so there has to be a repository with at least one commit.",
            fix=f"Run: git -C '{path}' init && git -C '{path}' add -A && git -C '{path}' commit -m 'First commit'",
            path=str(path),
        )
    # without a top level it is a bare repository, or the inside of a `.git`
    place = Path(top or (git_dir if is_bare == "true" else os.path.dirname(git_dir)))
    _check_complete(Repository(Path(git_dir)), place)
    name = place.name.removesuffix(".git") or place.parent.name
    return Source(str(place), place, slugify(name) or "project")


def _check_readable(path: Path, text: str) -> None:
    try:
        if not path.is_dir():
            raise NotFound(f"{text} does not exist" if not path.exists() else f"{text} is not a directory", fix=_FORMS)
        os.listdir(path)
    except PermissionError as error:
        raise Refused(
            f"{path} may not be read", meaning=str(error.strerror), fix="Give your user the right to read it."
        ) from error
    except NotADirectoryError as error:
        raise NotFound(f"{text} does not exist", meaning="A part of the path is a file.", fix=_FORMS) from error


def _check_complete(repository: Repository, top: Path) -> None:
    if not repository.text("for-each-ref", "--count=1", "--format=%(refname)", "refs/heads"):
        raise _no_commits(str(top))
    if repository.text("config", "--get-regexp", r"^(extensions\.partialclone|remote\..*\.promisor)$", check=False):
        raise InvalidInput(
            f"{top} is a partial clone",
            meaning="It does not hold all of its objects, so checkouts made from it would be incomplete.",
            fix="Use the address it was cloned from as the source instead.",
        )


def _remote(url: str) -> Source:
    listed = run_git("ls-remote", "--heads", "--", url, timeout=REACH_S, check=False)
    if not listed.ok:
        raise GitError(f"{url} cannot be read", subcommand="ls-remote", stderr=listed.stderr)
    if not listed.stdout.strip():
        raise _no_commits(mask_url(url))
    tail = re.split(r"[/:]", unquote(url.rstrip("/")))
    name = next((part.removesuffix(".git") for part in reversed(tail) if part.removesuffix(".git")), "")
    path = Path(unquote(url.removeprefix("file://"))) if url.startswith("file:///") else None
    return Source(url, path, slugify(name) or "project")


def _no_commits(shown: str) -> InvalidInput:
    return InvalidInput(
        f"{shown} has no commits yet",
        meaning="An environment starts from a commit, and there is no branch to start from.",
        fix="Make a first commit there and run this again.",
    )

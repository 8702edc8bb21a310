"""Real repositories for tests."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from environments.drivers.build import Target
from environments.drivers.checkout import check_place, prepare_checkout, publish_checkout, start_commit, write_tree
from environments.drivers.git import bare
from environments.drivers.source import Source
from environments.drivers.stage_files import Layout

PATIENCE_S = 20.0
_IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}


def git(path: Path, *args: str | Path, check: bool = True, env: dict[str, str] | None = None) -> str:
    """Plain git, as a person would use it; stripped stdout."""
    done = subprocess.run(
        ["git", "-c", "maintenance.auto=false", "-C", path, *args],
        check=False,
        capture_output=True,
        env={**os.environ, **_IDENTITY, "GIT_CONFIG_NOSYSTEM": "1", **(env or {})},
    )
    assert done.returncode == 0 or not check, done.stderr.decode()
    return done.stdout.decode("utf-8", "replace").strip()


def make_repository(path: Path, files: dict[str, str] | None = None, *, branch: str = "main") -> Path:
    """A repository with one commit: a copy of the one with these files that this process made first."""
    wanted = files or {"README.md": "hello\n", "app/main.py": "print(1)\n"}
    shutil.copytree(_made(tuple(wanted.items()), branch), path, symlinks=True, dirs_exist_ok=True)
    return path


@functools.cache
def _made(files: tuple[tuple[str, str], ...], branch: str) -> Path:
    path = Path(tempfile.mkdtemp(prefix="gaia-repository-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    made = path / "made"
    made.mkdir()
    git(made, "init", "-q", "-b", branch, env={"GIT_TEMPLATE_DIR": ""})
    for name in ("hooks", "info"):  # as there are in one that was made with git's own template
        (made / ".git" / name).mkdir()
    commit(made, dict(files))
    return made


def commit(path: Path, files: dict[str, str], message: str = "work") -> str:
    """Write and commit files; returns the commit."""
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    if files:
        git(path, "add", "-f", "--", *files)
    git(path, "commit", "-q", "-m", message)
    return _head(path)


def _head(path: Path) -> str:
    with suppress(OSError):
        kind, _, ref = (path / ".git/HEAD").read_text().strip().partition(" ")
        return (path / ".git" / ref).read_text().strip() if kind == "ref:" else kind
    return git(path, "rev-parse", "HEAD")  # one of several working trees


def source_of(path: Path) -> Source:
    return Source(str(path), path, "demo")


def layout_of(path: Path, *, ports: int = 18081) -> Layout:
    stages = {"dev": 0, "qa": 100, "staging": 200}
    return Layout(
        "demo", path.name, path, {name: (ports + offset, f"data/{name}/demo.db") for name, offset in stages.items()}
    )


def targets_in(root: Path, count: int) -> list[Target]:
    paths = [root / f"demo-dev{number}" for number in range(1, count + 1)]
    return [Target(path, f"env/dev{number}", layout_of(path)) for number, path in enumerate(paths, 1)]


def snapshot_of(path: Path) -> dict[str, tuple[int, int, int, str]]:
    """Everything below a directory: inode, mode, time of modification, content."""
    found = {}
    for directory, names, files in os.walk(path):
        for name in (*names, *files):
            file = Path(directory, name)
            facts = file.lstat()
            content = os.readlink(file) if file.is_symlink() else file.read_bytes().hex() if file.is_file() else ""
            found[str(file.relative_to(path))] = (facts.st_ino, facts.st_mode, facts.st_mtime_ns, content)
    return found


def slow_git(directory: Path, subcommand: str) -> str:
    """A PATH with a git that never ends when it is given a subcommand."""
    directory.mkdir()
    real = shutil.which("git")
    script = f'#!/bin/sh\nfor word in "$@"; do [ "$word" != {subcommand} ] || exec sleep 300; done\nexec {real} "$@"\n'
    (directory / "git").write_text(script)
    (directory / "git").chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def create_checkout(hub: Path, path: Path, *, branch: str, base: str, timeout: float) -> str:
    """A checkout by the driver's steps, one after the other; the one that is there already is left alone.

    Returns: the commit that is checked out.
    """
    present = check_place(hub, path)
    if present is not None:
        return present.head
    sha, default = start_commit(hub, branch, base), bare(hub).text("symbolic-ref", "--short", "HEAD")
    with prepare_checkout(hub, path, branch=branch, sha=sha, default=default, timeout=timeout) as prepared:
        write_tree(prepared, timeout=timeout)
        publish_checkout(prepared, hub)
        return prepared.sha

"""The one runner of git: GitPython's `Git` starts it, this module bounds it and names what went wrong.

Facts that shape it (GitPython 3.2):
- `kill_after_timeout` signals a snapshot of the children and then still waits for whoever holds the pipes, so the
  process is asked for (`as_process`) and its whole group is killed here;
- a working directory that may not be entered silently becomes GAIA's own, so directories go to git itself as `-C`;
- variables can be added to git's environment but not taken away, so `env -u` does that when a hook started GAIA;
- importing it costs 85 ms and fails without git, so it is imported at the first use, quietly.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from common.errors import Cancelled, Unavailable
from common.files import file_lock
from common.redaction import mask_url

OLDEST_GIT = (2, 31)
QUICK_S = 30.0
"""Seconds for a command that touches only local refs and small files."""

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction of it that is done, 0 to 1."""

# GAIA's own clones and fetches: no hooks, no commands from `ext::` URLs, no background work left behind.
_SAFE_CONFIG = (
    "protocol.ext.allow=never",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "color.ui=false",
    "core.quotePath=true",
    "log.showSignature=false",
    "commit.gpgSign=false",  # nobody is there who could give a passphrase
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "core.filesRefLockTimeout=5000",  # git itself waits for the locks of refs; for that of the index it does not
    "core.packedRefsTimeout=5000",
)
_NO_HOOKS = "core.hooksPath=/dev/null"
# What git sets for the hooks and aliases it runs; inherited, they would point every command at the wrong repository.
_FOREIGN_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_TEMPLATE_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_TRACE",
)
_ENVIRONMENT = {
    "LC_ALL": "C",
    "LANGUAGE": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "SSH_ASKPASS_REQUIRE": "never",
}
_SHOWN_STDERR_CHARS = 4000
_PIPES_S = 0.5
_PERCENT = re.compile(r"^(?:remote: )?(?P<what>[A-Z][A-Za-z ]+): +(?P<percent>\d+)%")
_FIXES = (
    ("No space left on device", "Free some space on that disk and run this again."),
    ("Disk quota exceeded", "Free some space or raise the quota, and run this again."),
    ("File too large", "The process may not write files of that size: raise its limit (`ulimit -f`)."),
    ("dubious ownership", "Tell git that you trust it: git config --global --add safe.directory PATH"),
    ("Permission denied (publickey", "Add an ssh key that the server accepts to your ssh agent."),
    ("Host key verification failed", "Connect once with ssh by hand and accept the server's key."),
    ("could not read Username", "Give git a credential helper or a token for this address."),
    ("Authentication failed", "Check the token or password that git uses for this address."),
    ("Permission denied", "Give your user the right to read and write there."),
    ("unable to write file", "Is the disk full? Free some space on it and run this again."),  # git says no more
    ("Could not resolve host", "Check the address and the network."),
)


@dataclass(frozen=True)
class Output:
    """What a git command left behind; stdout keeps undecodable bytes as surrogates, so that paths survive."""

    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.code == 0


class GitError(Unavailable):
    """A git command could not do its work. `subcommand` names it, `meaning` has git's own words."""

    code = "git_failed"

    def __init__(self, what: str, *, subcommand: str, stderr: str = "", fix: str = "", **detail: Any) -> None:
        shown = mask_url(stderr.strip())[-_SHOWN_STDERR_CHARS:]
        fix = fix or next((advice for symptom, advice in _FIXES if symptom in shown), "")
        super().__init__(mask_url(what), meaning=shown, fix=fix, subcommand=subcommand, **detail)
        self.subcommand = subcommand
        self.stderr = shown


class GitMissing(GitError):
    """git is not installed, or too old."""

    code = "git_missing"


class GitTimedOut(GitError):
    """git took longer than its timeout; its process group was killed."""

    code = "git_timed_out"


@dataclass(frozen=True)
class Repository:
    """A repository at a known place: git never goes looking for another one in the directories above.

    Args:
        git_dir: the bare repository, or a checkout's `.git`.
        work_tree: the checkout, or None for a bare one.
    """

    git_dir: Path
    work_tree: Path | None = None

    def run(self, *args: str | Path, timeout: float = QUICK_S, **options: Any) -> Output:
        """`run_git` in this repository."""
        place = ["-C", str(self.work_tree or self.git_dir), f"--git-dir={self.git_dir}"]
        if self.work_tree is not None:
            place.append(f"--work-tree={self.work_tree}")
        return run_git(*args, place=place, timeout=timeout, **options)

    def text(self, *args: str | Path, timeout: float = QUICK_S, **options: Any) -> str:
        """The stripped stdout of a command; empty when it failed and `check` is off."""
        output = self.run(*args, timeout=timeout, **options)
        return output.stdout.strip() if output.ok else ""

    def lines(self, *args: str | Path, timeout: float = QUICK_S, **options: Any) -> list[str]:
        """The lines of a command's stdout: they end at a newline and nowhere else, as names may hold U+2028."""
        return [line for line in self.run(*args, timeout=timeout, **options).stdout.split("\n") if line]

    @contextmanager
    def lock(self, *, timeout: float = 60.0) -> Iterator[None]:
        """Hold the lock that every writer in this repository takes; it lies in the git directory.

        Raises: GitError when there is no repository; Conflict that names the holder.
        """
        if not (self.git_dir / "HEAD").is_file():  # the lock would make the directory, and that would be in the way
            raise GitError(
                f"there is no repository at {self.git_dir}",
                subcommand="rev-parse",
                fix="Run gaia env setup: it makes what is missing.",
            )
        with file_lock(self.git_dir / "gaia.lock", timeout=timeout, what=f"the repository {self.git_dir}"):
            yield


def bare(path: Path) -> Repository:
    """The bare repository at a path."""
    return Repository(path)


def checkout(path: Path) -> Repository:
    """The repository whose working tree is at a path."""
    return Repository(path / ".git", path)


def run_git(
    *args: str | Path,
    timeout: float,
    place: Sequence[str] = (),
    env: dict[str, str] | None = None,
    config: Sequence[str] = (),
    stdin: str | None = None,
    check: bool = True,
    progress: Progress | None = None,
    own_hooks: bool = False,
) -> Output:
    """Run a git command to its end.

    Args:
        args: subcommand and arguments; put `--` before anything that a person typed.
        timeout: seconds; afterwards git and everything it started is killed.
        place: options before the subcommand that say where (`-C`, `--git-dir`).
        env: variables on top of the environment.
        config: `key=value` for this command only.
        stdin: text for standard input; None gives it nothing.
        check: raise on an exit code other than 0.
        progress: told what git says about its progress (give the command `--progress`); when it raises Cancelled, git
            and everything it started is killed.
        own_hooks: run the repository's hooks, as its users expect of a commit or a push.

    Raises: GitMissing, GitTimedOut, GitError, Cancelled.
    """
    words = [str(arg) for arg in args]
    hooks = () if own_hooks else (_NO_HOOKS,)
    options = [item for value in (*_SAFE_CONFIG, *hooks, *config) for item in ("-c", value)]
    foreign = [option for name in _FOREIGN_VARIABLES if name in os.environ for option in ("-u", name)]
    argv = [*(["env", *foreign] if foreign else []), "git", *options, *place, *words]
    process = _start(argv, words[0], {**_ENVIRONMENT, **(env or {})}, stdin is not None)
    listener = _Listener(process, progress) if progress else None
    try:
        out, err = _outcome(process, _encode(stdin), timeout)
    except subprocess.TimeoutExpired:
        _kill_group(process)
        raise GitTimedOut(
            f"git {words[0]} did not finish within {timeout:g} s",
            subcommand=words[0],
            fix="Check that the disk or the server answers, or allow more time.",
            timeout=timeout,
        ) from None
    except BaseException:  # Ctrl-C or a cancelled operation: leave nothing running
        _kill_group(process)
        raise
    if listener and listener.cancelled:
        raise listener.cancelled
    stderr = listener.text() if listener else err.decode("utf-8", "replace")
    output = Output(process.returncode, out.decode("utf-8", "surrogateescape"), stderr)
    if check and not output.ok:
        raise GitError(
            f"git {words[0]} failed", subcommand=words[0], stderr=stderr or output.stdout, exit_code=output.code
        )
    return output


def check_git() -> str:
    """The installed git's version, such as `2.39.5`.

    Raises: GitMissing when there is none or it is older than GAIA needs.
    """
    text = run_git("version", timeout=QUICK_S).stdout
    found = re.search(r"(\d+)\.(\d+)(?:\.\d+)*", text)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_GIT:
        wanted = ".".join(map(str, OLDEST_GIT))
        raise GitMissing(
            f"git {found[0] if found else text.strip()} is too old",
            subcommand="version",
            fix=f"Install git {wanted} or newer.",
        )
    return found[0]


def _start(argv: list[str], subcommand: str, env: dict[str, str], takes_input: bool) -> subprocess.Popen[bytes]:
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # read at import: a missing git is our error to report
    from git.cmd import Git
    from git.exc import GitCommandNotFound

    try:
        started: Any = Git().execute(
            argv,
            istream=subprocess.PIPE if takes_input else None,
            as_process=True,
            env=env,
            process_group=0,  # one kill reaches ssh and the remote helpers; the session stays that of the operation
        )
    except (GitCommandNotFound, PermissionError) as error:
        raise GitMissing(
            "git is not installed", subcommand=subcommand, fix="Install git, for example: apt-get install git"
        ) from error
    process: subprocess.Popen[bytes] = started.proc
    started.proc = None  # GitPython's wrapper must not end it behind our back
    return process


def _encode(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _outcome(process: subprocess.Popen[bytes], stdin: bytes | None, timeout: float) -> tuple[bytes, bytes]:
    """What git wrote until its end. What it leaves running may hold its pipes for hours: a hook's server, a shared ssh
    connection; nobody waits for that.

    Raises: subprocess.TimeoutExpired when git itself has not ended within `timeout` seconds.
    """
    deadline, ended = time.monotonic() + timeout, False
    while True:
        try:
            return process.communicate(stdin, timeout=min(_PIPES_S, max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired as error:
            if ended:
                _close_pipes(process)
                return error.stdout or b"", error.stderr or b""
            ended = process.poll() is not None  # then once more, for what it wrote last
            if not ended and time.monotonic() > deadline:
                raise
            stdin = None  # it has been taken over


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # somebody outside the group may still hold the pipes
        process.communicate(timeout=1)
    _close_pipes(process)


class _Listener:
    """Reads git's stderr while it runs, and passes on the percentages."""

    def __init__(self, process: subprocess.Popen[bytes], progress: Progress) -> None:
        assert process.stderr is not None  # noqa: S101  # always a pipe: GitPython opens it so
        self._pipe: IO[bytes] = process.stderr
        process.stderr = None  # communicate() would read it too
        self._process = process
        self._progress = progress
        self.cancelled: Cancelled | None = None
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def text(self) -> str:
        self._thread.join(timeout=5)
        return "\n".join(self._lines)

    def _listen(self) -> None:
        pending = b""
        while chunk := os.read(self._pipe.fileno(), 8192):
            *lines, pending = re.split(rb"[\r\n]", pending + chunk)
            for line in lines:
                self._take(line.decode("utf-8", "replace"))
        self._take(pending.decode("utf-8", "replace"))
        self._pipe.close()

    def _take(self, line: str) -> None:
        found = _PERCENT.match(line)
        if found is None:
            self._lines.append(line)
            return
        with suppress(Exception):  # a broken progress bar must not break a clone
            try:
                self._progress(found["what"], int(found["percent"]) / 100)
            except Cancelled as error:
                self.cancelled = error
                os.killpg(self._process.pid, signal.SIGKILL)

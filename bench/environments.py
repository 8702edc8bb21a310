"""Set-up of five environments against git itself, and their status against GitPython's object API.

The repository is made on the fly: 5,000 files, a pack of more than 100 MB. GAIA's set-up is all of it: hub, checkouts,
scripts, databases, first status. `git clone` only clones.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before `bench/`, whose files would hide the packages

from bench.sample_repository import FULL, SMALL, make_repository, pack_bytes
from bench.table import Bench, Peer
from environments.drivers.build import Target, build_all
from environments.drivers.source import Source
from environments.drivers.stage_files import Layout
from environments.drivers.status import status_many

COUNT = 5
TIMES = 10
_GIB = 2**30
_SMALL = ", small repository"
_OBJECT_API = """
import time
from git import Repo

def measure(paths):
    started = time.perf_counter()
    for path in paths.split("\\t"):
        repo = Repo(path)
        branch = repo.active_branch.name
        staged = len(repo.index.diff("HEAD"))
        unstaged = len(repo.index.diff(None))
        untracked = len(repo.untracked_files)
        ahead = sum(1 for _ in repo.iter_commits("origin/main..HEAD"))
        behind = sum(1 for _ in repo.iter_commits("HEAD..origin/main"))
        assert (branch[:4], staged, unstaged, untracked, ahead, behind) == ("env/", 1, 1, 1, 1, 1), path
    return time.perf_counter() - started
"""


class Places:
    """Hands out a fresh directory per measured call.

    On a memory file system the one before is removed first. On a disk it stays until the end: ext4 without a journal
    becomes ten times slower at making files for minutes after many were removed, which would count for whoever is next.
    """

    def __init__(self, top: Path) -> None:
        self._top = top
        self._numbers = itertools.count()
        self._in_memory = str(top).startswith("/dev/shm/")
        self._last: Path | None = None

    def fresh(self) -> Path:
        place = self._top / f"round-{next(self._numbers)}"
        place.mkdir()
        self._last = place
        return place

    def clear(self) -> None:
        """Between measured calls: nobody inherits another's files or unwritten pages."""
        if self._in_memory and self._last is not None:
            shutil.rmtree(self._last)
            self._last = None
        elif not self._in_memory:
            os.sync()


def main() -> int:
    bench = Bench("environments", sys.argv[1:], description=__doc__)
    top = Path(tempfile.mkdtemp(prefix="gaia-bench-environments-", dir=_directory(bench)))
    try:
        bench.say("making the repositories")
        large, small = top / "large", top / "small"
        make_repository(large, FULL)
        make_repository(small, SMALL)
        bench.note(f"repository: {FULL.files} files, pack of {pack_bytes(large) / 1e6:.0f} MB, in {top.parent}")
        places = Places(top)
        _set_up(bench, places, large)
        _scale(bench, places, small)
        _status(bench, top, large, small)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    return bench.finish()


def _directory(bench: Bench) -> str | None:
    """Memory, when there is enough: the figures then compare programs and not the mood of a disk."""
    if "TMPDIR" not in os.environ and Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 6 * _GIB:
        return "/dev/shm"
    bench.note("on disk: run it on an idle one")
    return None


def _set_up(bench: Bench, places: Places, large: Path) -> None:
    gaia = _gaia(places, large, COUNT)
    case = "set-up of 5"
    # A B A B …, and the slow peer apart: it would take most of the time of a quick run
    bench.compare(
        case,
        {"gaia": gaia, "git clone PATH": _git(places, [str(large)] * COUNT)},
        rounds=3 if bench.quick else None,
        between=places.clear,
    )
    bench.ratio(f"{case}: git clone PATH one by one / gaia", case=case, fast="gaia", slow="git clone PATH", budget=2)
    over_url = f"{case}, over file://"
    bench.compare(
        over_url,
        {"gaia": gaia, "git clone file://": _git(places, [f"file://{large}"] * COUNT)},
        rounds=1 if bench.quick else None,
        warm_up=not bench.quick,
        between=places.clear,
    )
    bench.ratio(
        f"{case}: git clone file:// one by one / gaia", case=over_url, fast="gaia", slow="git clone file://", budget=15
    )


def _scale(bench: Bench, places: Places, small: Path) -> None:
    """Ten times the environments: what one of them takes must not grow."""
    for count in (COUNT, COUNT * TIMES):
        bench.compare(
            f"set-up of {count}, small repository",
            {"gaia": _gaia(places, small, count), "git clone PATH": _git(places, [str(small)] * count)},
            rounds=2 if bench.quick else None,
            warm_up=not bench.quick,
            between=places.clear,
        )
    few = bench.value("gaia", f"set-up of {COUNT}, small repository") / COUNT
    many = bench.value("gaia", f"set-up of {COUNT * TIMES}, small repository") / (COUNT * TIMES)
    bench.figure("one environment of 50 / one of 5", many / few, budget=1.5, better="lower")


def _status(bench: Bench, top: Path, large: Path, small: Path) -> None:
    directory = top / "peer"
    directory.mkdir()
    with Peer(directory, ["GitPython==3.2.1"], _OBJECT_API) as peer:
        bench.note(peer.note)
        for name, repository, count in (
            ("", large, COUNT),
            (_SMALL, small, COUNT),
            (_SMALL, small, COUNT * TIMES),
        ):
            paths = _busy_environments(top / f"status-{repository.name}-{count}", repository, count)
            case, slow = f"status of {count}{name}", "GitPython objects"
            listed = "\t".join(str(path) for path in paths)
            theirs = functools.partial(peer.measure, listed)
            few = count == COUNT  # it takes a blink: more rounds, steadier medians
            rounds = 15 if few else 2 if bench.quick else None
            bench.compare(case, {"gaia": functools.partial(_look, paths), slow: theirs}, rounds=rounds)
            bench.ratio(f"{case}: {slow} / gaia", case=case, fast="gaia", slow=slow, budget=4)
    of_5, of_50 = (bench.value("gaia", f"status of {count}{_SMALL}") for count in (COUNT, COUNT * TIMES))
    bench.figure("status of 50 / status of 5", of_50 / of_5, budget=12, better="lower")


def _look(paths: list[Path]) -> None:
    found = status_many(paths)
    assert all((each.ahead, each.behind, each.dirty) == (1, 1, 3) for each in found.values()), found


def _busy_environments(root: Path, repository: Path, count: int) -> list[Path]:
    """Environments as they are in daily work: one ahead, one behind, a few changed files."""
    targets = _targets(root, count)
    build_all(Source(str(repository), repository, "sample"), root / "hub.git", targets)
    names = [name for name in _run("git", "-C", targets[0].path, "ls-files").splitlines() if name.endswith(".py")]
    for target in targets:
        path = target.path
        _run("git", "-C", path, *_IDENTITY, "commit", "-q", "--allow-empty", "-m", "ahead")
        tree = _run("git", "-C", path, "rev-parse", "origin/main^{tree}").strip()
        behind = _run("git", "-C", path, *_IDENTITY, "commit-tree", tree, "-p", "origin/main", "-m", "behind").strip()
        _run("git", "-C", path, "update-ref", "refs/remotes/origin/main", behind)
        (path / names[0]).write_text("staged\n")
        _run("git", "-C", path, "add", names[0])
        (path / names[1]).write_text("unstaged\n")
        (path / "untracked").write_text("")
    return [target.path for target in targets]


_IDENTITY = ("-c", "user.name=Sample", "-c", "user.email=sample@example.org")


def _targets(root: Path, count: int) -> list[Target]:
    targets = []
    for number in range(1, count + 1):
        path = root / f"sample-dev{number}"
        stages = {
            stage: (8080 + offset + number, f"data/{stage}/sample.db")
            for stage, offset in (("dev", 0), ("qa", 100), ("staging", 200))
        }
        targets.append(Target(path, f"env/dev{number}", Layout("sample", path.name, path, stages)))
    return targets


def _gaia(places: Places, repository: Path, count: int) -> Callable[[], None]:
    def set_up() -> None:
        root = places.fresh()
        built = build_all(Source(str(repository), repository, "sample"), root / "hub.git", _targets(root, count))[1]
        assert all(each.created for each in built), built

    return set_up


def _git(places: Places, sources: list[str]) -> Callable[[], None]:
    def clone() -> None:
        root = places.fresh()
        for number, source in enumerate(sources):
            _run("git", "clone", "-q", source, root / f"sample-dev{number}")

    return clone


def _run(*argv: str | Path) -> str:
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=environ).stdout


if __name__ == "__main__":
    os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    sys.exit(main())

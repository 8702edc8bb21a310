"""`./gaia` before there is a virtual environment, and after: in a clone, with a Python that tells what it did."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from libtmux.test.retry import retry_until

ROOT = Path(__file__).resolve().parents[2]
# what the script may call besides Python; the test's PATH has these and nothing else
TOOLS = ("readlink", "cmp", "rm", "mv", "cp", "cat", "id", "git", "tmux")

# Stands for Python: makes an environment and "installs" by noting it; waits while $HOLD exists; then runs the CLI.
PYTHON = """#!/bin/sh
echo "$(basename "$0") $*" | head -n 1 >>"{log}"
case "$1 $2" in
"-c "*version_info*) echo "${{FAKE_VERSION:-3.11.2}}"; [ -z "${{FAKE_VERSION:-}}" ] ;;
"-c "*ensurepip*) ;;
"-c "*) exec "{real}" "$@" ;;
"-m venv") mkdir -p "$3/bin" "$3/lib" && cp "$0" "$3/bin/python" && touch "$3/bin/activate.fish" ;;
"-m pip")
    while [ -e "{hold}" ]; do sleep 0.05; done
    [ ! -e "{broken}" ] || {{ echo "pip: no network" >&2; exit 1; }} ;;
"-E "*) shift; shift; echo "cli in $PWD"; for word in "$@"; do echo "[$word]"; done ;;
*) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""


class Clone:
    """A checkout with the script, a lock file, and nothing installed."""

    def __init__(self, place: Path, tmp: Path) -> None:
        self.place = place
        self.log, self.hold, self.broken = tmp / "log", tmp / "hold", tmp / "broken"
        self.bin = tmp / "bin"
        place.mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "gaia", place / "gaia")
        (place / "requirements").mkdir()
        for name in ("base", "dev"):
            (place / "requirements" / f"{name}.lock").write_text(f"# {name}\n")
        (place / "scripts").mkdir()
        for name in ("test", "lock"):
            self._script(place / "scripts" / name, f'#!/bin/sh\necho "{name}: $*"\n')
        for name in (*TOOLS, "mkdir", "touch", "sleep", "head", "basename"):
            found = shutil.which(name)
            assert found, name
            (self.bin / name).symlink_to(found)
        self.install_python("python3")
        self.started: list[subprocess.Popen[str]] = []

    def install_python(self, name: str, **changes: str) -> None:
        text = PYTHON.format(log=self.log, real=sys.executable, hold=self.hold, broken=self.broken)
        self._script(self.bin / name, text)

    def _script(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def start(
        self, *words: str, script: str | Path = "", cwd: Path | None = None, **environ: str
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(script or self.place / "gaia"), *words], cwd=cwd or "/", text=True, start_new_session=True,
            env={"PATH": str(self.bin), "HOME": "/nonexistent", **environ},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        process = self.start(*words, **options)  # type: ignore[arg-type]
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def told(self) -> list[str]:
        """What Python was called for, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def installs(self) -> int:
        return sum("-m pip" in line for line in self.told())


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    made = Clone(tmp_path / "a place with spaces" / "it's", tmp_path)
    yield made
    made.hold.unlink(missing_ok=True)
    for process in made.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_first_start_installs_and_the_second_does_not(clone: Clone) -> None:
    first = clone.run("status", "--json")
    assert (first.returncode, first.stdout) == (0, "cli in /\n[status]\n[--json]\n")
    assert "Making .venv with Python 3.11.2" in first.stderr
    lock = clone.place / "requirements" / "base.lock"
    assert any(f"--require-hashes -r {lock}" in line for line in clone.told())
    clone.log.unlink()
    for tool in set(TOOLS) - {"cmp"}:  # nothing but cmp and the environment's Python is needed any more
        (clone.bin / tool).unlink()
    (clone.bin / "python3").unlink()
    second = clone.run("status")
    assert (second.returncode, second.stdout, second.stderr) == (0, "cli in /\n[status]\n", "")
    assert clone.told() == [f"python -E {clone.place} status"]


def test_words_arrive_as_they_were_typed(clone: Clone) -> None:
    words = ["session", "send", "x", "two words", "", "*", "it's", 'a "quote"', "$HOME", "line\nbreak", "-c", "ünï"]
    shown = "".join(f"[{word}]\n" for word in words)
    assert clone.run(*words).stdout == f"cli in /\n{shown}"  # through the installation
    assert clone.run(*words).stdout == f"cli in /\n{shown}"  # and without


def test_changed_requirements_are_installed(clone: Clone) -> None:
    clone.run("status")
    (clone.place / "requirements" / "base.lock").write_text("# other\n")
    assert clone.run("status").returncode == 0
    assert clone.run("status").returncode == 0
    assert clone.installs() == 2


def test_tests_have_requirements_of_their_own(clone: Clone) -> None:
    clone.run("status")
    assert clone.run("test", "-k", "x y").stdout == "test: -k x y\n"
    assert clone.run("lock").stdout == "lock: \n"
    assert "dev.lock" in clone.told()[-1]
    assert clone.installs() == 2


def test_the_tests_requirements_hold_the_others(clone: Clone) -> None:
    assert clone.run("test").returncode == 0
    assert clone.run("status").returncode == 0
    assert clone.installs() == 1
    locks = [(ROOT / "requirements" / f"{name}.lock").read_text().splitlines() for name in ("base", "dev")]
    pins = [{line.split(" ")[0] for line in lines if "==" in line} for lines in locks]
    assert pins[0] <= pins[1]


@pytest.mark.parametrize("way", ["absolute", "relative", "chain", "here", "name only"])
def test_from_anywhere_and_through_links(clone: Clone, tmp_path: Path, way: str) -> None:
    other = tmp_path / "else where"
    other.mkdir()
    script: str | Path = other / "gaia"
    cwd = tmp_path
    if way == "absolute":
        Path(script).symlink_to(clone.place / "gaia")
    elif way == "relative":
        Path(script).symlink_to(os.path.relpath(clone.place / "gaia", other))
    elif way == "chain":
        (other / "first").symlink_to(os.path.relpath(clone.place / "gaia", other))
        Path(script).symlink_to("first")
    elif way == "here":
        script, cwd = "./gaia", clone.place
    else:
        (clone.place / "link").symlink_to("gaia")
        done = subprocess.run(
            ["/bin/sh", "link", "x"], cwd=clone.place, env={"PATH": str(clone.bin)}, capture_output=True, text=True
        )
        assert done.stdout == f"cli in {clone.place}\n[x]\n", done.stderr
        return
    assert clone.run("x", script=script, cwd=cwd).stdout == f"cli in {cwd}\n[x]\n"


def test_two_at_once_install_once(clone: Clone) -> None:
    clone.hold.touch()
    first, second = clone.start("one"), clone.start("two")
    assert retry_until(lambda: clone.installs() == 1, 20, raises=False)
    for process in (first, second):
        assert process.poll() is None
    clone.hold.unlink()
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [out for out, _ in outputs] == ["cli in /\n[one]\n", "cli in /\n[two]\n"]
    assert clone.installs() == 1
    assert sum("waiting for it" in err for _, err in outputs) == 1


def test_killed_while_it_installs_it_begins_anew(clone: Clone) -> None:
    clone.hold.touch()
    killed = clone.start("status")
    assert retry_until(lambda: clone.installs() == 1, 20, raises=False)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    clone.hold.unlink()
    (clone.place / ".venv" / "lib" / "half a package").touch()
    again = clone.run("status")
    assert (again.returncode, again.stdout) == (0, "cli in /\n[status]\n")
    assert not (clone.place / ".venv" / "lib" / "half a package").exists()
    assert "Making .venv" not in clone.run("status").stderr


def test_killed_while_it_makes_the_environment(clone: Clone) -> None:
    (clone.place / ".venv.partial" / "bin").mkdir(parents=True)
    (clone.place / ".venv.partial" / "bin" / "python").write_text("half")
    assert clone.run("status").returncode == 0
    assert not (clone.place / ".venv.partial").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(clone: Clone) -> None:
    clone.run("status")
    python = clone.place / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nonexistent/python3.11")
    assert clone.run("status").returncode == 0
    assert clone.installs() == 2


def test_when_pip_fails_it_says_so_and_tries_again(clone: Clone) -> None:
    clone.broken.touch()
    failed = clone.run("status")
    assert (failed.returncode, failed.stdout) == (6, "")
    assert "pip: no network\ngaia: the requirements could not be installed\n" in failed.stderr
    clone.broken.unlink()
    assert clone.run("status").returncode == 0


def test_python_too_old(clone: Clone) -> None:
    done = clone.run("status", FAKE_VERSION="3.9.2", GAIA_PYTHON=str(clone.bin / "python3"))
    assert done.returncode == 6
    assert done.stderr.splitlines() == [
        f"gaia: GAIA_PYTHON names {clone.bin}/python3, which is 3.9.2",
        "  GAIA needs Python 3.11 or newer.",
        "  Name another one, or unset GAIA_PYTHON.",
    ]
    (clone.bin / "apt-get").write_text("#!/bin/sh\nexit 1\n")
    (clone.bin / "apt-get").chmod(0o755)
    as_person(clone)
    done = clone.run("status", FAKE_VERSION="3.9.2")
    assert done.returncode == 6
    assert done.stderr.splitlines() == [
        "gaia: these programs are missing: python3 python3-venv",
        "  GAIA needs Python 3.11 or newer, git, and tmux 3.2 or newer. Here python3 is 3.9.2.",
        "  Run: sudo apt-get install python3 python3-venv",
    ]


def as_person(clone: Clone) -> None:
    (clone.bin / "id").unlink()
    (clone.bin / "id").write_text("#!/bin/sh\necho 1000\n")
    (clone.bin / "id").chmod(0o755)


@pytest.mark.parametrize(
    ("manager", "command"),
    [("apt-get", "Run: sudo apt-get install tmux git"), ("dnf", "Run: sudo dnf install tmux git"),
     ("pacman", "Run: sudo pacman -S tmux git"), ("brew", "Run: brew install tmux git"),
     ("", "Install them with your system's package manager.")],
)  # fmt: skip
def test_missing_programs_come_with_the_command(clone: Clone, manager: str, command: str) -> None:
    for name in ("tmux", "git"):
        (clone.bin / name).unlink()
    if manager:
        (clone.bin / manager).symlink_to(clone.bin / "cat")
    as_person(clone)
    done = clone.run("status")
    assert done.returncode == 6
    assert done.stderr.splitlines()[0] == "gaia: these programs are missing: tmux git"
    assert done.stderr.splitlines()[-1] == f"  {command}"


@pytest.mark.parametrize("works", [True, False])
def test_as_root_on_debian_they_are_installed(clone: Clone, works: bool) -> None:
    real = os.readlink(clone.bin / "tmux")
    (clone.bin / "tmux").unlink()
    (clone.bin / "id").unlink()
    install = f'[ "$1" = update ] || ln -s {real} "{clone.bin}/tmux"' if works else "echo no network >&2; exit 100"
    for name, text in (("id", "echo 0"), ("apt-get", f'echo "apt-get $*" >>"{clone.log}"\n{install}')):
        (clone.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (clone.bin / name).chmod(0o755)
    (clone.bin / "ln").symlink_to(str(shutil.which("ln")))
    done = clone.run("status")
    assert "apt-get update -qq" in clone.told()
    if works:
        assert (done.returncode, done.stdout) == (0, "cli in /\n[status]\n")
        assert "apt-get install -y -qq tmux" in clone.told()
    else:
        assert done.returncode == 6
        assert "no network\ngaia: apt-get could not install tmux\n" in done.stderr
    assert not (clone.place / ".venv.log").exists() or not works


def test_with_a_real_python_and_pip(clone: Clone) -> None:
    (clone.place / "__main__.py").write_text("import sys\nprint(sys.prefix, sys.argv[1:])\n")
    done = clone.run("x", GAIA_PYTHON=sys.executable, PATH=f"{clone.bin}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{clone.place}/.venv ['x']\n"
    again = clone.run("y")
    assert (again.stdout, again.stderr) == (f"{clone.place}/.venv ['y']\n", "")


def test_modules_of_the_place_one_stands_in_are_none_of_ours(tmp_path: Path) -> None:
    for name in ("common", "gaia_site", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('wrong module')")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [ROOT / "gaia", "--version"], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gaia 0.")

"""Nothing outside of a checkout is read, written or deleted, whatever somebody put or edited in it.

Agents work in checkouts: they can edit what GAIA wrote there, and put symlinks in the place of files and directories.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.containment import stays_inside
from common.errors import Conflict
from environments.drivers.launching import stage_paths, stage_start
from environments.drivers.stage_files import Layout, ensure
from tests.environments.conftest import kill_everything_below
from tests.environments.drivers.repositories import snapshot_of
from tests.environments.drivers.scripts import free_ports

SECRET = "S secret-token 1\nDATABASE_PATH=secret\nLOG_FILE=README.md\n"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the checkout with what might be mistaken for files of a stage."""
    place = tmp_path / "outside"
    for name in ("dev.log", "dev.env", "dev.lock", "dev.journal", "demo.db", f".x{'.gaia-unfinished'}"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(SECRET)
    return place


@pytest.fixture
def checkout(repository: Path) -> Iterator[Path]:
    """A furnished one; whatever runs in it is ended."""
    furnish(repository)
    yield repository
    kill_everything_below(repository)


@functools.cache
def ports_of(checkout: Path) -> dict[str, int]:
    """Ports of its own."""
    return dict(zip(("dev", "qa", "staging"), free_ports(3), strict=True))


def furnish(checkout: Path) -> None:
    """Set it up, or repair it."""
    stages = {name: (port, f"data/{name}/demo.db") for name, port in ports_of(checkout).items()}
    ensure(checkout, Layout("demo", checkout.name, checkout, stages))


def edit(checkout: Path, **changed: str) -> None:
    """Change variables in the file of stage dev."""
    file = checkout / ".gaia/stages/dev.env"
    lines = [line for line in file.read_text().splitlines() if line.partition("=")[0] not in changed]
    file.write_text("\n".join([*lines, *(f"{name}='{value}'" for name, value in changed.items()), ""]))


def put_link(place: Path, target: Path) -> None:
    """A symlink in the place of a file or directory."""
    if place.is_dir() and not place.is_symlink():
        place.rename(place.with_name(f"{place.name}.before"))
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def run(checkout: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the checkout to its end."""
    return subprocess.run(
        [checkout / script, *words], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "GAIA_LAUNCH_WAIT": "10", "GAIA_STOP_GRACE": "1"},
    )  # fmt: skip


# -- names


def test_what_lies_inside(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "a").mkdir(parents=True)
    (here / "in").symlink_to(here / "a")
    (here / "out").symlink_to(tmp_path)
    (here / "round").symlink_to(here / "round")
    (here / "dangling").symlink_to(tmp_path / "not-there")
    (tmp_path / "link").symlink_to(here)
    inside = ["a", "a/b", "not/there", "in/b", "a/../b", str(here / "a")]
    beyond = ["out", "out/here/../x", "..", "../here-too/x", "round/x", "dangling", "/etc/passwd", "a/../../x", "a\0b"]
    for directory in (here, tmp_path / "link"):
        assert [name for name in inside if not stays_inside(directory, name)] == []
        assert [name for name in beyond if stays_inside(directory, name)] == []


# -- a log that leads out: the usual one is used in its place

OUTWARD = ["/{outside}/dev.log", "../outside/dev.log", "logs/../../outside/dev.log", "nowhere/../../outside/dev.log"]


@pytest.mark.parametrize("name", [*OUTWARD, "../outside/new.log", "linked/dev.log", "linked.log"])
def test_an_edited_name_of_the_log(checkout: Path, outside: Path, name: str) -> None:
    (checkout / "linked").symlink_to(outside)
    (checkout / "linked.log").symlink_to(outside / "dev.log")
    before = snapshot_of(outside)
    edit(checkout, LOG_FILE=name.format(outside=outside))

    assert stage_paths(checkout, "dev").log == checkout / "logs/dev.log"
    start = stage_start(checkout, "dev")
    assert (start.log, start.env["LOG_FILE"]) == (checkout / "logs/dev.log", "logs/dev.log")

    edit(checkout, LOG_FILE=name.format(outside=outside))
    try:
        assert run(checkout, "launch.sh", "dev").returncode == 0
        assert (checkout / "logs/dev.log").exists()
    finally:
        assert run(checkout, "stop.sh", "dev").returncode == 0
    assert snapshot_of(outside) == before


@pytest.mark.parametrize("name", ["logs", "logs/dev.log"])
def test_logs_that_became_a_link(checkout: Path, outside: Path, name: str) -> None:
    put_link(checkout / name, outside / "dev.log" if name.endswith(".log") else outside)
    before = snapshot_of(outside)

    assert stage_paths(checkout, "dev").log == checkout / ".gaia/stages/dev.log"
    assert stage_start(checkout, "dev").log == checkout / ".gaia/stages/dev.log"
    try:
        assert run(checkout, "launch.sh", "dev").returncode == 0
    finally:
        assert run(checkout, "stop.sh", "dev").returncode == 0
    assert (checkout / ".gaia/stages/dev.log").exists()
    furnish(checkout)
    assert snapshot_of(outside) == before


def test_every_log_leads_out(checkout: Path, outside: Path) -> None:
    put_link(checkout / "logs", outside)
    put_link(checkout / ".gaia/stages/dev.log", outside / "dev.log")
    before = snapshot_of(outside)

    assert stage_paths(checkout, "dev").log == Path(os.devnull)
    assert run(checkout, "launch.sh", "dev").returncode == 0
    assert run(checkout, "stop.sh", "dev").returncode == 0
    assert snapshot_of(outside) == before


def test_a_link_that_stays_inside_is_followed(checkout: Path) -> None:
    (checkout / "elsewhere").mkdir()
    put_link(checkout / "logs", checkout / "elsewhere")
    assert stage_start(checkout, "dev").log == checkout / "logs/dev.log"
    assert run(checkout, "launch.sh", "dev").returncode == 0
    assert run(checkout, "stop.sh", "dev").returncode == 0
    assert (checkout / "elsewhere/dev.log").exists()


# -- a database, or GAIA's own files, that lead out: nothing is started


def refused(checkout: Path, what: str, *, stopping: bool = True) -> None:
    """No door does anything with stage dev, and each says why and what to do."""
    with pytest.raises(Conflict, match="leads out of the checkout") as error:
        stage_start(checkout, "dev")
    assert what in error.value.what
    assert "gaia env setup" in error.value.fix
    for script, *words in (["launch.sh", "dev"], *([["stop.sh", "dev"], ["stop.sh", "--all"]] if stopping else [])):
        said = run(checkout, script, *words)
        assert (said.returncode, "leads out of this checkout" in said.stderr) == (4, True), said
        assert "gaia env setup" in said.stderr
    for words in ([], ["--json"]):
        said = run(checkout, "status.sh", *words)
        assert (said.returncode, "leads out of this checkout" in said.stderr) == (4, True), said
        assert "secret" not in said.stdout


@pytest.mark.parametrize("name", ["{outside}/demo.db", "../outside/demo.db", "../outside/new.db", "linked/demo.db"])
def test_an_edited_name_of_the_database(checkout: Path, outside: Path, name: str) -> None:
    (checkout / "linked").symlink_to(outside)
    before = snapshot_of(outside)
    edit(checkout, DATABASE_PATH=name.format(outside=outside))

    refused(checkout, "")

    furnish(checkout)
    assert stage_start(checkout, "dev").env["DATABASE_PATH"] == str(checkout / "data/dev/demo.db"), "it was repaired"
    assert snapshot_of(outside) == before


@pytest.mark.parametrize("name", ["data", "data/dev", "data/dev/demo.db"])
def test_a_database_that_became_a_link(checkout: Path, outside: Path, name: str) -> None:
    put_link(checkout / name, outside / "demo.db" if name.endswith(".db") else outside)
    before = snapshot_of(outside)

    refused(checkout, "data/dev/demo.db")

    furnish(checkout)
    assert stage_start(checkout, "dev").env["DATABASE_PATH"] == str(checkout / ".gaia/data/dev/demo.db")
    assert snapshot_of(outside) == before


OWN = [".gaia/stages", ".gaia/stages/dev.env", ".gaia/stages/dev.lock", ".gaia/stages/dev.journal"]


@pytest.mark.parametrize("name", OWN)
def test_own_files_that_became_links(checkout: Path, outside: Path, name: str) -> None:
    put_link(checkout / name, outside if name == ".gaia/stages" else outside / Path(name).name)
    before = snapshot_of(outside)

    paths = stage_paths(checkout, "dev")

    assert all(stays_inside(checkout, path) for path in (paths.lock, paths.journal, paths.log))
    assert paths.log == checkout / "logs/dev.log", "what the link leads to says nothing"
    refused(checkout, ".gaia/stages/dev.")
    assert snapshot_of(outside) == before


@pytest.mark.parametrize("name", OWN)
def test_own_files_that_became_links_to_nothing(checkout: Path, outside: Path, name: str) -> None:
    """What is opened to be written would make the file at the other end."""
    put_link(checkout / name, outside / "not-there")
    before = snapshot_of(outside)

    assert stays_inside(checkout, stage_paths(checkout, "dev").lock)
    with pytest.raises(Conflict, match="leads out of the checkout"):
        stage_start(checkout, "dev")
    for script in ("launch.sh", "stop.sh"):
        assert run(checkout, script, "dev").returncode in (2, 4)
    assert snapshot_of(outside) == before


OPENED = [".gaia/stages", ".gaia/stages/dev.lock", ".git/info", ".gaia/env.local", ".gaia/logs"]


@pytest.mark.parametrize("name", OPENED)
def test_a_repair_writes_and_deletes_nothing_there(checkout: Path, outside: Path, name: str) -> None:
    """Even where the usual names cannot be used, and GAIA's files are to go into its own directory."""
    (checkout / ".env.local").unlink()
    (checkout / ".env.local").symlink_to(outside / "dev.env")
    put_link(checkout / "logs", outside)
    is_file = Path(name).suffix in {".lock", ".local"}
    put_link(checkout / name, outside / "dev.lock" if is_file else outside)
    before = snapshot_of(outside)

    with pytest.raises(Conflict, match="leads out of the checkout") as error:
        furnish(checkout)

    assert name in error.value.what
    assert snapshot_of(outside) == before


def test_a_repair_replaces_a_link_in_the_place_of_a_file_that_is_written_whole(checkout: Path, outside: Path) -> None:
    for name in (".gaia/stages/dev.env", ".gaia/shim", ".gaia/stage.sh"):
        put_link(checkout / name, outside / "dev.env")
    before = snapshot_of(outside)

    furnish(checkout)

    assert not (checkout / ".gaia/stages/dev.env").is_symlink()
    assert stage_start(checkout, "dev").port == ports_of(checkout)["dev"]
    assert snapshot_of(outside) == before


def test_the_other_stages_are_shown_all_the_same(checkout: Path, outside: Path) -> None:
    edit(checkout, DATABASE_PATH="../outside/demo.db")
    said = run(checkout, "status.sh", "--json")
    assert '"qa"' in said.stdout
    assert said.stdout.endswith("]}\n")
    assert '"dev"' not in said.stdout


def test_names_that_the_project_gives_its_variables_do_not_disturb_the_scripts(checkout: Path, outside: Path) -> None:
    """`gaia.yaml` may set any variable but GAIA's own, so also those which the scripts happen to use."""
    names = ("lock", "log", "journal", "root", "stage", "url", "stage_env", "name", "file", "separator", "result")
    env = ", ".join(f"{name}: {outside / 'dev.log'}" for name in names)
    (checkout / "gaia.yaml").write_text(f"command: exec python3 .gaia/placeholder.py\nenv: {{{env}}}\n")
    furnish(checkout)
    (checkout / ".env.local").write_text("".join(f"{name}={outside / 'dev.log'}\n" for name in names))
    before = snapshot_of(outside)

    assert run(checkout, "launch.sh", "dev").returncode == 0
    assert "RUNNING" in run(checkout, "status.sh").stdout
    assert "is stopped" in run(checkout, "stop.sh", "dev").stdout
    assert (checkout / ".gaia/stages/dev.journal").exists()
    assert snapshot_of(outside) == before

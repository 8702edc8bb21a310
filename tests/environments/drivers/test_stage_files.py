"""What GAIA puts into a checkout, and what it leaves alone."""

from __future__ import annotations

import hashlib
import os
import shlex
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from common.errors import Conflict, InvalidInput, NotFound
from environments.drivers.launching import stage_paths, stage_start
from environments.drivers.stage_files import SCRIPTS, Report, ensure
from processes.drivers.shim import shim_path
from tests.environments.drivers.repositories import commit, git, layout_of, snapshot_of


def furnish(path: Path) -> Report:
    return ensure(path, layout_of(path))


def test_everything_is_there_and_nothing_shows_in_git(repository: Path) -> None:
    report = furnish(repository)
    assert not report.repaired
    assert not report.kept
    assert not report.problems
    assert set(SCRIPTS) <= set(report.created)
    assert git(repository, "status", "--porcelain", "--untracked-files=all") == ""
    for stage in ("dev", "qa", "staging"):
        with closing(sqlite3.connect(f"file:{repository}/data/{stage}/demo.db?mode=ro", uri=True)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert (repository / f".gaia/stages/{stage}.lock").exists()
    assert (repository / "logs").is_dir()
    assert (repository / ".gaia/shim").read_bytes() == shim_path().read_bytes()


def test_the_second_run_touches_nothing(repository: Path) -> None:
    furnish(repository)
    before = snapshot_of(repository)
    assert furnish(repository) == Report()
    assert snapshot_of(repository) == before


@pytest.mark.parametrize(
    "name",
    [
        "launch.sh", "stop.sh", "status.sh", "sync.sh", ".env.local", "data/qa/demo.db", ".gaia/shim", ".gaia/stage.sh",
        ".gaia/placeholder.py", ".gaia/stages/dev.env", ".gaia/stages/dev.lock", ".git/info/exclude",
    ],
)  # fmt: skip
def test_only_what_is_missing_comes_back(repository: Path, name: str) -> None:
    furnish(repository)
    before = snapshot_of(repository)
    (repository / name).unlink()
    report = furnish(repository)
    assert (report.created, report.repaired) == ((), (name,))
    after = snapshot_of(repository)
    assert {each for each in before if before[each] != after[each]} <= {name, *directories_of(name)}
    assert before[name][3] == after[name][3] or name == ".git/info/exclude"


def directories_of(name: str) -> set[str]:
    return {str(parent) for parent in Path(name).parents}


def test_an_outdated_script_is_refreshed(repository: Path) -> None:
    furnish(repository)
    old = "#!/bin/sh\necho old\n"
    digest = hashlib.sha256(old.encode()).hexdigest()
    current = (repository / "stop.sh").read_text()
    (repository / "stop.sh").write_text(f"#!/bin/sh\n# gaia-script sha256:{digest} (whatever)\necho old\n")
    report = furnish(repository)
    assert report.repaired == ("stop.sh",)
    assert (repository / "stop.sh").read_text() == current


def test_an_edited_script_is_kept_and_told(repository: Path) -> None:
    furnish(repository)
    with open(repository / "launch.sh", "a") as script:
        script.write("echo mine\n")
    edited = (repository / "launch.sh").read_text()
    report = furnish(repository)
    assert (repository / "launch.sh").read_text() == edited
    assert report.kept == ("launch.sh (was edited; GAIA's is .gaia/launch.sh)",)
    assert os.access(repository / ".gaia/launch.sh", os.X_OK)
    assert git(repository, "status", "--porcelain") == ""
    assert not furnish(repository).changed


def test_a_script_that_lost_its_x_gets_it_back(repository: Path) -> None:
    furnish(repository)
    (repository / "sync.sh").chmod(0o644)
    assert furnish(repository).repaired == ("sync.sh",)
    assert os.access(repository / "sync.sh", os.X_OK)


def test_tracked_names_keep_their_files(repository: Path) -> None:
    mine = {"launch.sh": "#!/bin/sh\necho mine\n", ".env.local": "A=1\n", "data/qa/demo.db": "rows\n"}
    commit(repository, mine)
    report = furnish(repository)
    assert len(report.kept) == 3
    assert git(repository, "status", "--porcelain", "--untracked-files=all") == ""
    assert (repository / ".gaia/launch.sh").exists()
    assert "DEV_PORT" in (repository / ".gaia/env.local").read_text()
    start = stage_start(repository, "qa")
    assert start.env["DATABASE_PATH"] == str(repository / ".gaia/data/qa/demo.db")
    assert start.env["A"] == "1"
    assert Path(start.env["DATABASE_PATH"]).read_bytes()[:15] == b"SQLite format 3"
    assert not furnish(repository).changed


def test_an_untracked_script_of_the_user_is_kept_and_stays_visible(repository: Path) -> None:
    (repository / "status.sh").write_text("echo mine\n")
    report = furnish(repository)
    assert report.kept == ("status.sh (was there before; GAIA's is .gaia/status.sh)",)
    assert git(repository, "status", "--porcelain") == "?? status.sh"


def test_work_beside_gaias_files_stays_visible(repository: Path) -> None:
    furnish(repository)
    (repository / "data/dev/notes.txt").write_text("mine")
    (repository / "logs/mine.txt").write_text("mine")
    assert git(repository, "status", "--porcelain", "-uall").split("\n") == [
        "?? data/dev/notes.txt",
        "?? logs/mine.txt",
    ]


def test_text_of_the_user_is_kept_to_the_byte(repository: Path) -> None:
    before = b"# mine \xff\r\nSECRET='a b'\nNO_NEWLINE=1"
    (repository / ".env.local").write_bytes(before)
    (repository / ".env.local").chmod(0o640)
    (repository / ".git/info/exclude").write_bytes(b"*.tmp \xfe\n")
    furnish(repository)
    assert (repository / ".env.local").read_bytes().startswith(before)
    assert (repository / ".env.local").stat().st_mode & 0o777 == 0o640
    assert (repository / ".git/info/exclude").read_bytes().startswith(b"*.tmp \xfe\n")
    with open(repository / ".env.local", "ab") as file:
        file.write(b"AFTER=1\n")
    assert furnish(repository) == Report()


def test_changed_ports_are_taken_over(repository: Path) -> None:
    furnish(repository)
    report = ensure(repository, layout_of(repository, ports=19000))
    assert set(report.repaired) == {".env.local", *(f".gaia/stages/{stage}.env" for stage in ("dev", "qa", "staging"))}
    assert "QA_PORT=19100" in (repository / ".env.local").read_text()
    assert stage_start(repository, "qa").port == 19100


def test_a_database_with_rows_is_never_replaced(repository: Path) -> None:
    furnish(repository)
    with closing(sqlite3.connect(repository / "data/dev/demo.db")) as database:
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (1)")
        database.commit()
    assert furnish(repository) == Report()
    with closing(sqlite3.connect(repository / "data/dev/demo.db")) as database:
        assert database.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_an_empty_database_file_is_repaired_and_a_foreign_one_left(repository: Path) -> None:
    furnish(repository)
    (repository / "data/dev/demo.db").write_bytes(b"")
    (repository / "data/qa/demo.db").write_bytes(b"no database at all")
    report = furnish(repository)
    assert report.repaired == ("data/dev/demo.db",)
    assert report.problems == ("data/qa/demo.db is not a SQLite database; it was left alone",)
    assert (repository / "data/qa/demo.db").read_bytes() == b"no database at all"


@pytest.mark.parametrize("name", ["data", "logs", "data/dev"])
def test_links_out_of_the_checkout_are_not_followed(repository: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (repository / name).parent.mkdir(exist_ok=True)
    (repository / name).symlink_to(outside)
    report = furnish(repository)
    assert report.kept
    assert os.listdir(outside) == []
    for stage in ("dev", "qa", "staging"):
        start = stage_start(repository, stage)
        assert Path(start.env["DATABASE_PATH"]).exists()
        assert start.log.resolve().is_relative_to(repository)


@pytest.mark.parametrize("name", ["launch.sh", ".env.local", "data/dev/demo.db"])
def test_a_link_in_place_of_a_file_is_kept(repository: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).symlink_to(outside)
    assert any(line.startswith(name) for line in furnish(repository).kept)
    assert outside.read_text() == "theirs"
    assert (repository / name).is_symlink()


def test_a_file_in_place_of_a_directory_is_kept(repository: Path) -> None:
    commit(repository, {"logs": "not a directory", "data": "neither"})
    report = furnish(repository)
    assert len(report.kept) == 6
    assert stage_start(repository, "dev").log == repository / ".gaia/logs/dev.log"
    assert git(repository, "status", "--porcelain") == ""


def test_a_repository_with_a_gaia_directory_of_its_own_is_refused(repository: Path) -> None:
    commit(repository, {".gaia/config": "theirs"})
    with pytest.raises(Conflict, match="belongs to the repository"):
        furnish(repository)


def test_a_gaia_link_is_refused(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (repository / ".gaia").symlink_to(tmp_path / "outside")
    with pytest.raises(Conflict):
        furnish(repository)
    assert os.listdir(tmp_path / "outside") == []


# -- starting a stage


def test_the_daemon_gets_what_launch_sh_would_use(repository: Path) -> None:
    commit(repository, {"gaia.yaml": "command: run $PORT\nhealth: /up\nenv: {LEVEL: 'a b'}\n"})
    (repository / ".env.local").write_text(
        "MINE=1\nexport QUOTED='x y'\nDOUBLE=\"$(id)\"\n# NO=1\nPORT=1\nbroken line\n1BAD=x\nIFS=x\nCR=1\r\n  SPACE=1\n"
    )
    furnish(repository)
    start = stage_start(repository, "qa")
    assert start.argv == ("/bin/sh", "-c", "run $PORT")
    assert (start.port, start.health_path, start.cwd) == (18181, "/up", repository)
    assert start.env == {
        "MINE": "1",
        "QUOTED": "x y",
        "DOUBLE": "$(id)",
        "CR": "1",
        "GAIA_PROJECT": "demo",
        "GAIA_ENVIRONMENT": "source",
        "DEV_PORT": "18081",
        "QA_PORT": "18181",
        "STAGING_PORT": "18281",
        "LEVEL": "a b",
        "PORT": "18181",
        "DATABASE_PATH": str(repository / "data/qa/demo.db"),
        "LOG_FILE": "logs/qa.log",
        "STAGE": "qa",
        "APP_ENV": "qa",
        "HEALTH_PATH": "/up",
        "COMMAND": "run $PORT",
    }
    paths = stage_paths(repository, "qa")
    assert (start.log, start.lock, start.journal) == (paths.log, paths.lock, paths.journal)


def test_launch_sh_reads_env_local_exactly_like_the_daemon(repository: Path) -> None:
    lines = "A=1\nexport B='x y'\nC=\"$(touch pwned)\"\nD=`touch pwned`\nE=a=b\nF=\nG='\nH=\"\"\nI=it's\n"
    lines += "CR=1\r\n ü=1\nJ=ü\n"
    (repository / ".env.local").write_text(lines + "LAST=no newline")
    furnish(repository)
    mine = set("ABCDEFGHIJ") | {"CR", "LAST", "PATH_INFO"}
    daemon = {key: value for key, value in stage_start(repository, "dev").env.items() if key in mine}
    script = f"cd {shlex.quote(str(repository))} && . ./.gaia/stage.sh && export_file .env.local && env"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    shell = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert {key: value for key, value in shell.items() if key in mine} == daemon
    assert len(daemon) == 12
    assert not (repository / "pwned").exists()


def test_a_changed_gaia_yaml_is_taken_over_at_the_start(repository: Path) -> None:
    furnish(repository)
    (repository / "gaia.yaml").write_text("command: new\nenv: {X: '1'}\n")
    assert stage_start(repository, "dev").argv[2] == "new"
    assert "COMMAND=new" in (repository / ".gaia/stages/dev.env").read_text()
    (repository / "gaia.yaml").write_text("command: newer\n")
    start = stage_start(repository, "dev")
    assert start.argv[2] == "newer"
    assert "X" not in start.env


def test_a_bad_gaia_yaml_is_told_and_keeps_nothing_else_from_being_made(repository: Path) -> None:
    (repository / "gaia.yaml").write_text("comand: x\n")
    report = furnish(repository)
    assert len(report.problems) == 1
    assert "gaia.yaml:1" in report.problems[0]
    with pytest.raises(InvalidInput):
        stage_start(repository, "dev")
    assert stage_paths(repository, "dev").log == repository / "logs/dev.log"


@pytest.mark.parametrize("stage", ["nope", "", "../x"])
def test_an_unknown_stage(repository: Path, stage: str) -> None:
    furnish(repository)
    with pytest.raises(NotFound):
        stage_start(repository, stage)
    stage_paths(repository, stage)

"""What cannot work is refused at every door: what happened, what to do, the right code, and nothing half-written."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from environments.models import Environment
from environments.states import EnvironmentState
from events.models import Event
from processes.models import Operation, PortLease
from projects.models import Project
from tests.conftest import Operator
from tests.environments.drivers.repositories import commit, git, make_repository, snapshot_of
from tests.environments.places import Place, Said

# Root may do anything; without its capabilities it is bound by the modes of files like everybody else.
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()


def told(said: Said, code: int, *parts: str) -> None:
    """The command line has said what happened and what to do, and nothing of a traceback."""
    assert said.code == code, said
    assert "Traceback" not in said.err
    lines = [line for line in said.err.splitlines() if line != "Preparing the database …"]
    assert lines[0].startswith("gaia: ")
    assert len(lines) > 1, "it does not say what to do"
    assert all(line.startswith("  ") for line in lines[1:])
    for part in parts:
        assert part in said.err, said.err


def own_home(tmp_path: Path) -> dict[str, str]:
    """A home and database of its own: without its capabilities, root may not use another user's PostgreSQL socket."""
    return {"GAIA_HOME": str(tmp_path / "home"), "GAIA_DATABASE_URL": ""}


def nothing_written() -> None:
    """No project, environment, lease, operation or event, and no hub."""
    for model in (Project, Environment, PortLease, Operation):
        assert not model.objects.exists(), model
    assert not Event.objects.exclude(kind="node.registered").exists()
    assert list(settings.GAIA.home.hubs.iterdir()) == []


@pytest.fixture
def post(operator: Operator) -> Callable[..., Any]:
    """Posts JSON to the API as an operator's program does; the answer."""
    client = Client(headers=operator.headers)
    Event.objects.all().delete()

    def send(path: str, **body: Any) -> Any:
        return client.post(f"/api/environments/{path}", body, content_type="application/json")

    return send


def problem(answer: Any, status: int, *parts: str) -> dict[str, Any]:
    """The answer is problem details with that status and those parts."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body = dict(answer.json())
    assert body["status"] == status
    for part in parts:
        assert part in str(body), body
    return body


# -- the source


def test_no_repository(place: Place, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()

    said = place.gaia("env", "setup", cwd=tmp_path / "plain")

    told(said, 2, f"{tmp_path / 'plain'} is not a git repository", "--source PATH-OR-URL", "init && git")
    nothing_written()
    assert list((tmp_path / "plain").iterdir()) == []


def test_an_empty_repository(place: Place, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")

    told(place.gaia("env", "setup", "--source", tmp_path / "empty"), 2, "has no commits yet", "first commit")

    nothing_written()


def test_a_source_that_does_not_exist(place: Place, post: Callable[..., Any]) -> None:
    told(place.gaia("env", "setup", "--source", "nowhere"), 3, "nowhere does not exist")
    problem(post("setup", source="/nowhere/at/all"), 404, "does not exist", "fix")

    nothing_written()


def test_a_source_that_may_not_be_read(place: Place, tmp_path: Path) -> None:
    place.source.chmod(0)

    said = place.gaia("env", "setup", "--source", place.source, before=UNPRIVILEGED, env=own_home(tmp_path))

    place.source.chmod(0o755)
    told(said, 5, "may not be read", "Give your user the right")
    assert list((tmp_path / "home/hubs").iterdir()) == []


@pytest.mark.parametrize("source", ["ext::sh -c 'touch %s'", "-u./touch", "--upload-pack=touch", "fd::17", "a\nb", ""])
def test_sources_that_could_run_commands(place: Place, source: str, post: Callable[..., Any]) -> None:
    problem(post("setup", source=source), 400)

    nothing_written()


@pytest.mark.parametrize("source", ["ext::sh -c 'touch here'", "--upload-pack=touch here"])
def test_sources_that_could_run_commands_at_the_terminal(place: Place, source: str) -> None:
    told(place.gaia("env", "setup", f"--source={source}"), 2, "is not a repository GAIA can use")

    nothing_written()
    assert not (place.root / "here").exists()


def test_an_unknown_kind_of_address(place: Place) -> None:
    told(place.gaia("env", "setup", "--source", "ftp://example.org/x.git"), 2, "ftp:// are not supported")


def test_a_server_that_does_not_answer(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    told(place.gaia("env", "setup", "--source", f"git://127.0.0.1:{port}/x"), 6, "cannot be read", "Connection refused")

    nothing_written()


@pytest.mark.parametrize(
    "address",
    [
        "https://ada:s3cr3t-pass@example.org/x.git",
        "https://ghp_s3cr3tpass0123456789@example.org/x.git",
        "ssh://git:s3cr3t-pass@example.org/x.git",
        "https://example.org/x.git?private_token=s3cr3t-pass",
    ],
)
def test_credentials_in_an_address_are_refused_and_kept_nowhere(
    place: Place, address: str, post: Callable[..., Any]
) -> None:
    said = place.gaia("env", "setup", "--source", address, "--json")
    answer = post("setup", source=address)

    told(said, 2, "the address carries a password or token", "git credential", "ssh", "docs/environments.md")
    problem(answer, 400, "credential")
    assert "s3cr3t" not in said.out + said.err + answer.content.decode()
    nothing_written()
    for file in settings.GAIA.home.root.rglob("*"):
        assert not file.is_file() or b"s3cr3t" not in file.read_bytes(), file


def test_git_is_missing(place: Place) -> None:
    said = place.gaia("env", "setup", "--source", place.source, env={"PATH": "/nowhere"})

    told(said, 6, "git is not installed", "apt-get install git")
    nothing_written()


def test_git_is_too_old(place: Place, tmp_path: Path) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\necho git version 2.20.1\n")
    (tmp_path / "git").chmod(0o755)

    said = place.gaia(
        "env", "setup", "--source", place.source, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    )  # fmt: skip

    told(said, 6, "git 2.20.1 is too old", "Install git 2.31")


# -- names and numbers


@pytest.mark.parametrize("name", ["my shop", "..", ".", "a:b"])
def test_names_that_are_not_names(place: Place, name: str) -> None:
    told(place.gaia("env", "setup", "--source", place.source, f"--project={name}"), 2, "is not a valid project name")

    nothing_written()


@pytest.mark.parametrize("name", ["my shop", "..", "a.b", "a/b", "", "ä", "x" * 65])
def test_names_that_the_api_refuses(place: Place, name: str, post: Callable[..., Any]) -> None:
    problem(post("setup", source=str(place.source), project=name), 400)

    nothing_written()


@pytest.mark.parametrize("count", [0, 500, -1])
def test_numbers_that_are_not_possible(place: Place, count: int, post: Callable[..., Any]) -> None:
    said = place.gaia("env", "setup", "--source", place.source, f"--count={count}")

    told(said, 2, str(count), "environments")
    problem(post("setup", source=str(place.source), count=count), 400, "between 1 and 100")
    nothing_written()


def test_a_number_that_is_none(place: Place, post: Callable[..., Any]) -> None:
    said = place.gaia("env", "setup", "--source", place.source, "--count", "abc")

    assert said.code == 2
    assert "--count" in said.err
    assert "abc" in said.err
    problem(post("setup", source=str(place.source), count="abc"), 400, "count")
    nothing_written()


@pytest.mark.parametrize("port", [0, 80, 65_500, 10**9])
def test_base_ports_that_cannot_be_used(place: Place, port: int, post: Callable[..., Any]) -> None:
    problem(post("setup", source=str(place.source), base_port=port), 400, "cannot be used", "--base-port")

    nothing_written()


def test_a_base_port_that_the_command_line_refuses(place: Place) -> None:
    told(place.gaia("env", "setup", "--source", place.source, "--base-port", 80), 2, "cannot be used", "--base-port")


# -- places


def test_a_path_that_is_not_ours(place: Place, post: Callable[..., Any]) -> None:
    (place.path(2) / "precious").mkdir(parents=True)
    before = snapshot_of(place.path(2))

    said = place.gaia("env", "setup", "--source", place.source, "--count", "3")

    told(said, 4, f"{place.path(2)} exists and was not made by GAIA", "--root")
    problem(post("setup", source=str(place.source), count=3), 409, str(place.path(2)))
    nothing_written()
    assert snapshot_of(place.path(2)) == before
    assert not place.path(1).exists()


@pytest.mark.parametrize("kind", ["file", "dangling link", "clone"])
def test_other_things_at_the_path(place: Place, kind: str) -> None:
    if kind == "file":
        place.path(1).write_text("mine")
    elif kind == "clone":
        git(place.root, "clone", "-q", place.source, place.path(1))
    else:
        place.path(1).symlink_to("nowhere")

    told(place.gaia("env", "setup", "--source", place.source), 4, "was not made by GAIA")

    nothing_written()


def test_a_checkout_of_another_gaia(place: Place, tmp_path: Path) -> None:
    place.set_up(1)
    before = snapshot_of(place.path(1))

    said = place.gaia("env", "setup", "--source", place.source, env={"GAIA_HOME": str(tmp_path / "other home")})

    told(said, 4, f"{place.path(1)} belongs to another GAIA or project", "--root")
    assert snapshot_of(place.path(1)) == before


def test_a_root_that_may_not_be_written(place: Place, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)

    words = ("env", "setup", "--source", place.source, "--root", tmp_path / "theirs/deep")

    said = place.gaia(*words, before=UNPRIVILEGED, env=own_home(tmp_path))

    told(said, 5, f"{tmp_path / 'theirs'} may not be written", "--root")
    assert list((tmp_path / "home/hubs").iterdir()) == []


def test_a_root_that_is_a_file(place: Place, post: Callable[..., Any]) -> None:
    (place.root / "file").write_text("")

    said = place.gaia("env", "setup", "--source", place.source, "--root", "file/deep")

    told(said, 2, "file is not a directory")
    problem(post("setup", source=str(place.source), root=str(place.root / "file")), 400)
    nothing_written()


def test_a_root_inside_the_source_or_an_environment(place: Place) -> None:
    told(place.gaia("env", "setup", "--root", ".", cwd=place.source), 2, f"lies inside {place.source}")
    nothing_written()
    place.set_up(1)

    said = place.gaia(
        "env", "setup", "--source", make_repository(place.root / "other"), "--root", place.path(1) / "docs"
    )  # fmt: skip

    told(said, 2, f"lies inside {place.path(1)}")


def test_a_path_that_is_too_long(place: Place, post: Callable[..., Any]) -> None:
    told(place.gaia("env", "setup", "--source", place.source, "--root", "/tmp/" + "x" * 300), 2, "cannot be used")
    told(place.gaia("env", "setup", "--source", "x" * 901), 2, "more than 900 characters")
    problem(post("setup", source="/" + "x" * 300), 400, "cannot be used")

    nothing_written()


def test_relative_paths_mean_nothing_to_the_api(place: Place, post: Callable[..., Any]) -> None:
    problem(post("setup", source="shop"), 400, "relative path")
    problem(post("setup", source="."), 400, "relative path")
    problem(post("setup", source=str(place.source), root="here"), 400, "relative path")
    nothing_written()


def test_the_api_never_means_the_servers_own_directory(place: Place, post: Callable[..., Any]) -> None:
    problem(post("setup"), 400, "which repository is meant is not clear")
    problem(post("setup", project="shop"), 404, "there is no project")
    nothing_written()


# -- ports


def test_a_port_that_a_stranger_has(place: Place, post: Callable[..., Any]) -> None:
    with listening(place.base_port + 101) as pid:
        said = place.gaia("env", "setup", "--source", place.source, "--count", "2")
        answer = post("setup", source=str(place.source), count=2)

    told(said, 4, f"port {place.base_port + 101} is taken by python3 (pid {pid})", "--base-port")
    problem(answer, 409, f"(pid {pid})")
    nothing_written()
    assert not place.path(1).exists()


def test_a_port_that_another_project_has(place: Place) -> None:
    place.set_up(1)
    other = make_repository(place.root / "other")

    said = place.gaia("env", "setup", "--source", other, "--base-port", place.base_port)

    told(said, 4, f"port {place.base_port} is leased to environment/shop-dev1/dev")
    assert Project.objects.count() == 1
    assert not place.path(1, "other").exists()


# -- what is registered


def test_another_source_under_a_known_name(place: Place, post: Callable[..., Any]) -> None:
    place.set_up(1)
    other = make_repository(place.root / "elsewhere/shop")

    told(place.gaia("env", "setup", "--source", other), 4, "already comes from", "--project")
    problem(post("setup", source=str(other)), 409, "already comes from")


def test_environments_do_not_move(place: Place, tmp_path: Path) -> None:
    place.set_up(1)

    said = place.gaia("env", "setup", "--root", tmp_path / "other")
    told(said, 4, f"lie in {place.root} with ports from {place.base_port}", "gaia env clean --project shop")
    told(place.gaia("env", "setup", "--base-port", place.base_port + 10), 4, "Leave --root and --base-port away")


def test_a_source_under_several_names_none_of_which_is_its_own(place: Place) -> None:
    place.set_up(1, project="one")
    place.set_up(1, project="two")

    told(place.gaia("env", "setup", "--source", place.source), 4, "one and as two", "--project")


# -- two at once


def test_the_second_of_two_at_once_is_told_of_the_first(place: Place, tmp_path: Path, post: Callable[..., Any]) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    wrapper = tmp_path / "bin/git"
    wrapper.parent.mkdir()
    real = subprocess.run(["sh", "-c", "command -v git"], capture_output=True, text=True, check=True).stdout.strip()
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *" clone "*)\n'
        f"touch {tmp_path}/cloning; while [ -e {gate} ]; do sleep 0.05; done;;\n"
        f'esac\nexec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    words = ("env", "setup", "--source", place.source, "--count", "1")

    with place.start(*words, env={"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}) as first:
        try:
            while not (tmp_path / "cloning").exists():
                assert first.poll() is None
            second = place.gaia(*words)
            answer = post("setup", source=str(place.source), count=1)
        finally:
            gate.unlink()
        first.communicate()

    operation = Operation.objects.get()
    who = f"operation {operation.pk}, asked for by {operation.actor}"
    told(second, 4, "Set-up of 1 environment of shop is already running", who, f"operation follow {operation.pk}")
    problem(answer, 409, who)
    assert first.returncode == 0
    assert [each.state for each in Environment.objects.all()] == [EnvironmentState.READY]


# -- repositories with peculiarities


def test_submodules_pointers_and_a_tracked_script_are_said(place: Place, tmp_path: Path) -> None:
    inner = make_repository(tmp_path / "inner")
    git(place.source, "submodule", "add", "-q", inner, "vendor/inner")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    commit(
        place.source,
        {
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "large.bin": pointer,
            "launch.sh": "#!/bin/sh\necho theirs\n",
        },
    )

    said = place.gaia("env", "setup", "--source", place.source, "--count", "2")

    assert said.code == 0, said.err
    assert "submodule  dev1, dev2: vendor/inner; fetch it there with: git submodule update --init" in said.out
    assert "kept       dev1, dev2: launch.sh (is tracked by the repository; GAIA's is .gaia/launch.sh)" in said.out
    for number in (1, 2):
        assert (place.path(number) / "launch.sh").read_text() == "#!/bin/sh\necho theirs\n"
        assert (place.path(number) / "large.bin").read_text() == pointer
        assert git(place.path(number), "status", "--porcelain") == ""


# -- removal and stages


def test_removing_what_is_not_there(place: Place, post: Callable[..., Any]) -> None:
    told(place.gaia("env", "clean"), 3, "there is no project yet", "gaia env setup")
    place.set_up(1)

    told(place.gaia("env", "clean", "dev1", "dev9"), 3, "shop has no environment dev9", "It has dev1.")
    told(place.gaia("env", "clean", "--project", "shoe"), 3, "there is no project 'shoe'", "shop")
    problem(post("clean", names=["dev9"]), 404, "dev9")
    problem(post("clean", names=[]), 400, "names")
    assert place.environment(1).state == EnvironmentState.READY


def test_launching_what_is_not_there(place: Place, post: Callable[..., Any]) -> None:
    told(place.gaia("env", "launch", "dev1"), 3, "there is no environment 'dev1'", "gaia env setup")
    place.set_up(1)
    place.set_up(1, source=str(make_repository(place.root / "other")))

    told(place.gaia("env", "launch", "dev1"), 4, "dev1 is not clear", "other-dev1 or shop-dev1")
    problem(post("shop-dev7/stages/qa/launch/"), 404, "shop-dev1")
    problem(post("shop-dev1/stages/prod/launch/"), 404, "dev, qa, staging")


@contextmanager
def listening(port: int) -> Iterator[int]:
    """A stranger that listens on a port; its pid."""
    script = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(flush=True); time.sleep(600)"
    process = subprocess.Popen(["python3", "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()

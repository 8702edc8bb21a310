"""Set-up of one source and another: it moves on, has several names, an address, a password that only git knows."""

from __future__ import annotations

import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from django.conf import settings

from environments.actions.setup import plan_setup
from processes.models import PortLease
from projects.models import Project
from tests.environments.drivers.repositories import commit, git, make_repository
from tests.environments.pictures import files_below
from tests.environments.places import Place, served


def test_the_source_moves_on_and_environments_keep_their_branch(place: Place) -> None:
    place.set_up(2)
    own = commit(place.path(1), {"mine.txt": "mine\n"})
    theirs = commit(place.source, {"README.md": "new\n"})
    before = files_below(place.path(1), place.path(2))

    result = place.set_up(2)

    assert git(settings.GAIA.home.hubs / "shop.git", "rev-parse", "main") == theirs
    assert result["learned"] == ["dev1", "dev2"]
    assert git(place.path(1), "rev-parse", "env/dev1") == own
    assert files_below(place.path(1), place.path(2)) == before
    assert [(each.git.ahead, each.git.behind) for each in (place.environment(1), place.environment(2))] == [
        (1, 1),
        (0, 1),
    ]
    assert place.set_up(2)["learned"] == []


def test_a_default_branch_with_another_name_is_followed(place: Place) -> None:
    place.set_up(1)
    git(place.source, "branch", "-m", "main", "trunk")
    commit(place.source, {"new.txt": "new\n"})

    place.set_up(1)

    assert Project.objects.get().default_branch == "trunk"
    assert place.environment(1).git.behind == 1


def test_a_second_project_gets_other_ports(place: Place) -> None:
    place.set_up(2)
    other = make_repository(place.root / "café site")

    result = place.set_up(2, source=str(other), base_port=None)

    assert result["project"] == "cafe-site"
    project = Project.objects.get(name="cafe-site")
    assert project.base_port == place.base_port + 300
    assert place.environment(1, "cafe-site").path == str(place.path(1, "cafe-site"))
    assert PortLease.objects.count() == PortLease.objects.values("port").distinct().count() == 12


def test_the_same_source_under_two_names(place: Place) -> None:
    place.set_up(1)

    result = place.set_up(1, project="market")

    assert result["created"] == ["dev1"]
    assert place.path(1, "market").is_dir()
    assert Project.objects.get(name="market").source == Project.objects.get(name="shop").source
    assert place.set_up(1)["unchanged"] == ["dev1"]  # without a name it is the one named like the source


def test_a_source_is_known_by_the_one_name_it_has(place: Place) -> None:
    place.set_up(1, project="market")

    assert plan_setup(source=str(place.source)).project == "market"
    assert plan_setup(source="shop", cwd=place.root).project == "market"
    assert plan_setup(cwd=place.root).project == "market"


def test_an_address_goes_to_the_homes_checkouts(place: Place) -> None:
    with served(place.root) as address:
        result = place.set_up(1, source=f"{address}/shop")

        assert result["created"] == ["dev1"]
        assert place.environment(1).path == str(settings.GAIA.home.checkouts / "shop-dev1")
        assert place.set_up(1, source=f"{address}/shop")["unchanged"] == ["dev1"]
    assert Project.objects.get().source == f"{address}/shop"


def test_a_private_source_by_gits_own_credentials(place: Place, tmp_path: Path) -> None:
    hosted = tmp_path / "hosted" / "shop.git"
    git(tmp_path, "clone", "-q", "--bare", place.source, hosted)
    git(hosted, "update-server-info")
    with private_server(hosted.parent, "ada", "s3cr3t") as address:
        refused = place.gaia("env", "setup", "--source", f"{address}/shop.git", "--count", "1")
        git(tmp_path, "config", "--global", "credential.helper", f"store --file={tmp_path / 'credentials'}")
        approve(f"url={address}", "username=ada", "password=s3cr3t")
        allowed = place.gaia("env", "setup", "--source", f"{address}/shop.git", "--count", "1")

    assert refused.code == 6, refused
    assert "Give git a credential helper or a token for this address." in refused.err
    assert allowed.code == 0, allowed.err
    assert Project.objects.get().source == f"{address}/shop.git"
    for file in [*settings.GAIA.home.root.rglob("*"), *settings.GAIA.home.checkouts.rglob("*")]:
        assert not file.is_file() or b"s3cr3t" not in file.read_bytes(), file


def approve(*lines: str) -> None:
    """Give git a credential, as the documentation says."""
    subprocess.run(["git", "credential", "approve"], input="\n".join([*lines, "", ""]), text=True, check=True)


@contextmanager
def private_server(directory: Path, user: str, password: str) -> Iterator[str]:
    """A web server that shows a directory to whoever has the password; its address."""
    wanted = "Basic " + b64encode(f"{user}:{password}".encode()).decode()

    class Private(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") == wanted:
                super().do_GET()
                return
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Private, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

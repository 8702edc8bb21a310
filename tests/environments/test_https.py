"""Stages that serve HTTPS: switched on and off, with GAIA up and down, for real clients."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from common.errors import Conflict
from environments.actions import https, serving, stages
from environments.drivers.authority import ensure_certificate, facts_of
from environments.reconcile import look_at_stages
from events.models import Event
from gaia_site.demo import make_demo
from processes.actions.nodes import ensure_node
from tests.environments.drivers.repositories import git
from tests.environments.places import DaemonProcess, Place, processes_of, until
from tests.environments.stages import is_shown, script, shown
from tests.environments.tls import curl, serve_tls, trusting


@pytest.fixture
def secure(place: Place) -> Place:
    """A place with one environment, whose app serves HTTPS when it is told to."""
    serve_tls(place)
    place.ready(1)
    return place


def told(kind: str) -> list[str]:
    return list(Event.objects.filter(kind=kind).order_by("id").values_list("message", flat=True))


def test_switched_on_and_off_with_gaia_down(secure: Place) -> None:
    on = secure.gaia("https", "on", "dev1", "qa")
    stage = secure.stage(1, "qa")
    launched = script(stage, "launch.sh", "qa")

    assert on.code == 0, on.err
    assert on.out == f"shop-dev1 qa       https://localhost:{stage.port}\n"
    assert launched.returncode == 0, launched.stderr
    assert f"Stage qa is running: https://localhost:{stage.port} (pid" in launched.stdout
    certificate = secure.path(1) / ".gaia/tls/cert.pem"
    assert trusting(stage) == (0, f"qa true {certificate}")
    assert curl(f"https://127.0.0.1:{stage.port}/health", "--cacert", settings.GAIA.home.ca / "ca.pem")[0] == 0
    assert curl(f"{stage.url}/health")[0] == 60, "nobody was made to trust the authority"
    assert curl(f"http://localhost:{stage.port}/health")[1] == ""
    one = json.loads(script(stage, "status.sh", "--json").stdout)["stages"][1]
    assert (one["name"], one["url"], one["health"]) == ("qa", stage.url, 200)
    assert git(secure.path(1), "status", "--porcelain") == ""
    assert secure.gaia("env", "list", "--json").data[0]["stages"][1]["url"] == stage.url

    refused = secure.gaia("https", "off", "dev1", "qa")
    script(stage, "stop.sh", "qa")
    off = secure.gaia("https", "off", "dev1", "qa")

    assert refused.code == 4
    assert "gaia https off shop-dev1 qa --restart" in refused.err
    assert off.out == f"shop-dev1 qa       http://localhost:{stage.port}\n"
    assert "Nothing to do" in secure.gaia("https", "off", "dev1").out
    assert script(stage, "launch.sh", "qa").returncode == 0
    assert curl(f"http://localhost:{stage.port}/health") == (0, "qa - -")
    assert [kind for kind in Event.objects.order_by("id").values_list("kind", flat=True) if "https" in kind] == [
        "https.authority_made", "https.certified", "stage.https_on", "stage.https_off",
    ]  # fmt: skip


def test_a_restart_around_it(secure: Place, daemon: DaemonProcess) -> None:
    secure.gaia("env", "launch", "dev1", "qa")
    first = shown(secure.stage(1, "qa"))["pid"]

    on = secure.gaia("https", "on", "dev1", "--restart", "--json")

    assert on.code == 0, on.err
    stage = secure.stage(1, "qa")
    assert [(each["name"], each["https"], each["state"]) for each in on.data] == [
        ("dev", True, "stopped"), ("qa", True, "running"), ("staging", True, "stopped"),
    ]  # fmt: skip
    assert shown(stage)["pid"] != first
    assert trusting(stage)[1].startswith("qa true ")
    assert secure.set_up(1)["unchanged"] == ["dev1"], "a set-up finds all of it in order"


def test_by_the_api(secure: Place, client: Client) -> None:
    path = "/api/environments/dev1/stages/qa/https/"
    assert client.get("/api/https/").json() == {"authority": None, "environments": []}

    answer = client.post(path, {"on": True}, content_type="application/json")

    assert answer.status_code == 200, answer.content
    assert (answer.json()["https"], answer.json()["url"]) == (True, secure.stage(1, "qa").url)
    found = client.get("/api/https/").json()
    assert found["authority"]["names"] == ["localhost", "127.0.0.1/32", "::1/128"]
    [one] = found["environments"]
    assert (one["environment"], one["stages"]) == ("shop-dev1", ["qa"])
    asked = client.post(path, {"on": False, "restart": True}, content_type="application/json")
    assert (asked.status_code, asked.json()["kind"]) == (202, "environments.https")


def test_by_hand_once_there_are_certificates(secure: Place) -> None:
    stage = secure.stage(1, "qa")
    early = script(stage, "launch.sh", "qa", USE_HTTPS="true")
    secure.gaia("https", "on", "dev1", "dev")

    by_hand = script(stage, "launch.sh", "qa", USE_HTTPS="true")

    assert (early.returncode, "gaia https on shop-dev1 qa" in early.stderr) == (6, True)
    assert by_hand.returncode == 0, by_hand.stderr
    assert f"https://localhost:{stage.port} (pid" in by_hand.stdout
    answers = f"https://localhost:{stage.port}  health 200"  # the script itself waits no longer than two seconds
    until(lambda: answers in script(stage, "status.sh").stdout, "that it answers")
    assert not stage.https
    look_at_stages(ensure_node())
    stage = secure.stage(1, "qa")
    assert stage.https, "what a script did is what its operator wants"
    exported = json.loads((settings.GAIA.home.data / "environments.json").read_text())
    assert exported["environments"][0]["stages"]["qa"]["url"] == stage.url
    assert told("stage.https_on")[-1] == "Stage qa of shop-dev1 serves HTTPS, as its script was told"
    assert trusting(stage)[0] == 0
    assert "already running: https://" in script(stage, "launch.sh", "qa").stdout


def test_written_into_env_local(secure: Place, daemon: DaemonProcess) -> None:
    """It counts for GAIA's own launches, which make the certificate, and it is not GAIA's to take back."""
    with (secure.path(1) / ".env.local").open("a") as file:
        file.write("USE_HTTPS=true\n")

    launched = secure.gaia("env", "launch", "dev1", "qa")

    stage = secure.stage(1, "qa")
    assert launched.code == 0, launched.err
    assert f"runs at https://localhost:{stage.port} " in launched.out
    assert trusting(stage)[0] == 0
    pid = shown(stage)["pid"]
    refused = secure.gaia("https", "off", "dev1", "--restart")
    assert (refused.code, "says USE_HTTPS" in refused.err) == (Conflict.exit_code, True)
    assert shown(stage)["pid"] == pid, "nothing was stopped for it"
    secure.gaia("env", "stop", "dev1", "qa")
    with pytest.raises(Conflict, match=r"\.env\.local says USE_HTTPS"):
        https.switch([stage], False)


def test_an_app_that_does_not_serve_it_is_not_believed(place: Place) -> None:
    place.ready(1)
    place.gaia("https", "on", "dev1", "qa")
    stage = place.stage(1, "qa")

    said = script(stage, "launch.sh", "qa", GAIA_LAUNCH_WAIT="1")

    assert said.returncode == 6
    assert "TLS_CERT and TLS_KEY" in said.stderr
    assert not serving.answers_on(stage, "/health")
    assert script(stage, "status.sh").stdout.splitlines()[1].endswith("health 000")


def test_another_authoritys_certificate_is_not_believed(secure: Place, tmp_path: Path) -> None:
    secure.gaia("https", "on", "dev1", "qa")
    stage = secure.stage(1, "qa")
    tls = secure.path(1) / ".gaia/tls"
    ensure_certificate(tmp_path / "other-ca", tmp_path / "other-tls", "shop-dev1")
    for name in ("cert.pem", "key.pem"):
        (tls / name).write_bytes((tmp_path / "other-tls" / name).read_bytes())

    assert script(stage, "launch.sh", "qa", GAIA_LAUNCH_WAIT="1").returncode == 6

    assert curl(f"{stage.url}/health", "-k")[1].startswith("qa true")
    assert not serving.answers_on(stage, "/health")
    script(stage, "stop.sh", "qa")
    assert secure.set_up(1)["repaired"] == {"dev1": [".gaia/tls/cert.pem"]}, "the key is one like any other"
    assert script(stage, "launch.sh", "qa").returncode == 0
    assert serving.answers_on(stage, "/health")


@pytest.mark.parametrize("tools", [("curl",), ("wget",), ("python3",)], ids="".join)
def test_the_scripts_ask_with_what_there_is(secure: Place, tmp_path: Path, tools: tuple[str]) -> None:
    secure.gaia("https", "on", "dev1", "qa")
    stage = secure.stage(1, "qa")
    script(stage, "launch.sh", "qa")
    only = tmp_path / "bin"
    only.mkdir()
    for directory in ("/usr/bin", "/bin"):
        for tool in Path(directory).iterdir():
            if tool.name not in {"curl", "wget", "python3"} and not (only / tool.name).exists():
                (only / tool.name).symlink_to(tool)
    found = subprocess.run(["which", *tools], capture_output=True, text=True, check=True).stdout.strip()
    (only / tools[0]).symlink_to(found)

    said = script(stage, "status.sh", PATH=str(only))

    assert "health 200" in said.stdout, said


def test_the_placeholder_serves_it(place: Place, tmp_path: Path) -> None:
    place.ready(1)
    (place.path(1) / "gaia.yaml").unlink()
    place.gaia("https", "on", "dev1", "qa")
    stage = place.stage(1, "qa")

    assert script(stage, "launch.sh", "qa").returncode == 0

    assert json.loads(trusting(stage)[1])["placeholder"] is True


def test_the_demo_serves_it(place: Place) -> None:
    source = make_demo(settings.GAIA.home.root / "demo" / "demo")
    place.set_up(1, source=str(source))
    stage = stages.find_stage(stages.find_environment("demo-dev1"), "dev")
    https.switch([stage], True)
    try:
        assert script(stage, "launch.sh", "dev").returncode == 0
        assert json.loads(trusting(stage)[1])["stage"] == "dev"
    finally:
        script(stage, "stop.sh")


def test_certificates_are_renewed_by_the_clock(secure: Place) -> None:
    assert https.renew() == 0, "nobody has asked for HTTPS"
    https.switch([secure.stage(1, "qa")], True)
    file = secure.path(1) / ".gaia/tls/cert.pem"
    before = facts_of(file)
    assert before is not None

    assert https.renew(now=timezone.now() + timedelta(days=300)) == 0
    assert https.renew(now=timezone.now() + timedelta(days=340)) == 1

    after = facts_of(file)
    assert after is not None
    assert after.until > before.until + timedelta(days=330)
    assert len(told("https.certified")) == 2


def test_it_stays_inside_the_checkout(secure: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stage = secure.stage(1, "qa")
    (secure.path(1) / ".gaia/tls").symlink_to(elsewhere)

    with pytest.raises(Conflict, match="leads out of the checkout"):
        https.switch([stage], True)

    assert script(stage, "launch.sh", "qa", USE_HTTPS="true").returncode == 4
    assert list(elsewhere.iterdir()) == []
    assert not secure.stage(1, "qa").https


def test_where_the_authority_is_and_how_it_is_trusted(place: Place) -> None:
    file = settings.GAIA.home.ca / "ca.pem"
    assert "No stage serves HTTPS" in place.gaia("https", "list").out

    path = place.gaia("https", "ca", "--path")
    told_ = place.gaia("https", "trust")
    data = place.gaia("https", "trust", "--json").data

    assert path.out == f"{file}\n"
    assert "vouches for  localhost" in place.gaia("https").out
    assert facts_of(file) is not None
    for each in data:
        for line in [*each["commands"], *each["undo"]]:
            assert line in told_.out
            checked = subprocess.run(["sh", "-n", "-c", line], capture_output=True, text=True, check=False)
            assert checked.returncode == 0, (line, checked.stderr)
        assert any(str(file) in line for line in each["commands"])
    assert {"Debian", "Fedora", "macOS", "Chromium", "Firefox"} <= {each["for"].split()[0].strip(",") for each in data}


def test_kill_in_the_middle_of_switching(secure: Place) -> None:
    """The row says so, the checkout does not yet: the next launch brings them into agreement."""
    stage = secure.stage(1, "qa")
    serving.record_https(stage, True, "and then GAIA was killed")

    launched = secure.gaia("env", "launch", "dev1", "qa")

    assert launched.code == 0, launched.err
    assert trusting(secure.stage(1, "qa"))[0] == 0
    assert len(processes_of(stage.owner)) == 1


def test_a_launch_by_gaia_is_shown_with_its_address(secure: Place, daemon: DaemonProcess, client: Client) -> None:
    https.switch([secure.stage(1, "qa")], True)
    answer = client.post("/api/environments/dev1/stages/qa/launch/")
    stage = secure.stage(1, "qa")
    assert (answer.status_code, answer.json()["url"]) == (202, f"https://localhost:{stage.port}")
    until(is_shown(stage, state="running"), "that it runs")
    until(lambda: serving.answers_on(stage, "/health"), "that it answers")

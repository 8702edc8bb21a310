"""`gaia layer …`, `gaia doctor` and `gaia config KEY`, as a person and as a script call them; layers in the API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from environments.models import Environment, Layer
from processes.actions.operations import run_operation
from processes.models import Operation
from tests.conftest import Operator
from tests.environments.places import Place
from tests.gaia_site.command_line import CommandLine


@pytest.fixture
def shop(shop_of: Callable[[int], Place]) -> Place:
    """Environment shop-dev1 on the command line's installation."""
    return shop_of(1)


# -- gaia layer


def test_layers_are_listed_and_shown(cli: CommandLine) -> None:
    said = cli("layer", "list")
    assert said.code == 0
    assert [line.split()[0] for line in said.lines if not line.startswith(" ")] == [
        "local", "integration", "staging", "production",
    ]  # fmt: skip
    assert cli("layer").out == said.out
    assert cli("layer", "list", "--json").data[1]["ports"] == [8000, 8014]
    assert "needs         redis, vector" in cli("layer", "show", "staging").out
    assert cli("layer", "show", "nothing").mistake(3)[0] == "gaia: there is no layer 'nothing'"


def test_one_is_made_changed_and_removed(cli: CommandLine) -> None:
    made = cli(
        "layer", "add", "demo", "--ports", "9100-9120", "--mcp", "basic", "--mcp-server", "memory", "--need", "redis",
        "--set", "LOG_LEVEL=debug", "--set", "A=b=c", "--service", "mail", "--json",
    )  # fmt: skip
    assert made.data["variables"] == {"LOG_LEVEL": "debug", "A": "b=c"}
    assert (made.data["ports"], made.data["needs"], made.data["services"]) == ([9100, 9120], ["redis"], ["mail"])
    changed = cli("layer", "change", "demo", "--ports", "none", "--unset", "A", "--no-service", "mail", "--no-need",
                  "redis", "--purpose", "Shown to clients", "--json")  # fmt: skip
    assert changed.data["variables"] == {"LOG_LEVEL": "debug"}
    assert (changed.data["ports"], changed.data["needs"], changed.data["services"]) == (None, [], [])
    assert cli("layer", "change", "demo").out == "Nothing to do: it is like that.\n"
    secret = cli("layer", "change", "demo", "--postgresql-url", "-", "--json", stdin="postgresql://me:hush@db\n")
    assert "hush" not in secret.out
    assert Layer.objects.get(name="demo").postgresql_url == "postgresql://me:hush@db"
    assert cli("layer", "remove", "demo").out == "Layer demo was removed.\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("add", "no good"), 2, "is not a valid name of a layer"),
        (("add", "x", "--ports", "9000"), 2, "is no range of ports"),
        (("change", "staging", "--set", "novalue"), 2, "is no variable with its value"),
        (("change", "staging", "--engine", "mysql"), 2, "mysql"),
        (("set", "dev9", "local"), 3, "there is no environment"),
        (("drift", "dev9"), 3, "there is no environment"),
    ],
)
def test_mistakes(cli: CommandLine, words: tuple[str, ...], code: int, says: str) -> None:
    assert says in cli("layer", *words).mistake(code)[0]


def test_setting_one_and_drift(cli: CommandLine, shop: Place) -> None:
    first = shop.base_port + 400
    made = cli("layer", "add", "demo", "--ports", f"{first}-{first + 5}", "--mcp", "all", "--json")
    assert made.code == 0
    plan = cli("layer", "set", "dev1", "demo", "--dry-run")
    assert f"  dev      port {shop.base_port} → {first}" in plan.lines
    assert Environment.objects.get().layer_name == "local"
    said = cli("layer", "set", "dev1", "demo")
    assert said.lines[0] == "shop-dev1 is in layer demo."
    assert cli("layer", "set", "dev1", "demo", "--json").data["moved"] == []
    clean = cli("layer", "drift")
    assert (clean.code, clean.out.split()) == (0, ["✓", "shop-dev1", "demo", "as", "its", "layer", "says"])

    cli("layer", "change", "demo", "--set", "LOG_LEVEL=debug")
    drifted = cli("layer", "drift", "dev1")
    assert drifted.code == 1
    assert drifted.lines[-1].strip() == "gaia layer set shop-dev1 demo"
    assert cli("layer", "drift", "--json").data[0]["findings"][0]["key"] == "layer.env-file"
    assert cli("layer", "remove", "demo").mistake(4)[-1].strip() == "gaia layer set shop-dev1 local"
    assert cli("layer", "set", "dev1", "integration").mistake(4)[0].endswith("has no PostgreSQL server")


# -- gaia doctor


@pytest.mark.usefixtures("own_port")
def test_the_doctor_says_what_is_wrong_and_how_to_mend_it(cli: CommandLine, shop: Place) -> None:
    said = cli("doctor")
    assert said.code == 0, said
    assert "▲ GAIA is down" in said.lines
    assert "  gaia up --detach" in said.lines, "to be copied as it is"
    (shop.path(1) / "launch.sh").unlink()
    said = cli("doctor", "--json")
    assert (said.code, said.data["verdict"], said.data["counts"]["failed"]) == (1, "failed", 1)
    assert said.data["findings"][0]["fix"] == "gaia env setup --project shop"
    assert cli("doctor", "--ports").code == 0
    assert cli("doctor", "--verify", "--ports").mistake(2)


@pytest.mark.usefixtures("own_port")
def test_it_works_when_little_else_does(bare: CommandLine, tmp_path: Path) -> None:
    home = tmp_path / "fresh" / "home"
    assert bare("doctor", "--verify").code == 0, "there is no home yet"
    home.chmod(0o755)
    (home / "config.toml").write_text("[server]\nprot = 1\n")
    (home / "config.toml").chmod(0o600)
    said = bare("doctor", "--verify", "--json")
    assert [each["key"] for each in said.data["findings"]] == ["home.open", "settings.mistake/server.prot"]
    (home / "config.toml").unlink()
    (home / "data" / "gaia.sqlite3").write_bytes(b"this was a database once" * 400)
    said = bare("doctor", "--json")
    assert said.code == 1
    assert "Traceback" not in said.err
    [damaged] = [each for each in said.data["findings"] if each["key"] == "database.damaged"]
    assert damaged["fix"] == "gaia down && gaia backup restore gaia --yes && gaia up --detach"


@pytest.mark.usefixtures("own_port")
def test_ready_for_production(cli: CommandLine) -> None:
    said = cli("doctor", "--production-ready", "--json", GAIA_SERVER_DEBUG="true", GAIA_SERVER_HOST="192.0.2.1")
    keys = {each["key"]: each for each in said.data["findings"]}
    assert {"production.debug", "production.public-url", "production.exposed", "production.told"} <= set(keys)
    assert said.code == 1
    safe = cli("doctor", "--production-ready", "--json", GAIA_SERVER_PUBLIC_URL="https://gaia.example.org")
    assert safe.code == 0
    assert {each["key"] for each in safe.data["findings"]} <= {"parts.down", "production.told", "git.identity"}
    plain = cli("doctor", "--production-ready", "--json", GAIA_SERVER_PUBLIC_URL="http://gaia.example.org")
    [tls] = [each for each in plain.data["findings"] if each["key"] == "production.tls"]
    assert tls["fix"] == "gaia config server.public_url https://gaia.example.org"


@pytest.mark.usefixtures("own_port")
def test_everything_at_once(cli: CommandLine, shop: Place) -> None:
    assert cli("backup", "take", "--all").code == 0
    said = cli("doctor", "--comprehensive", "--json")
    assert said.code == 0, said.data["findings"]
    assert "the newest backups were restored in a scratch place" in said.data["well"]
    [backup] = (cli_home(cli) / "data/backups").glob("shop-dev1-qa-*.gz")
    backup.write_bytes(backup.read_bytes()[:-20])
    said = cli("doctor", "--comprehensive", "--json")
    [spoiled] = [each for each in said.data["findings"] if each["key"].startswith("backups.spoiled")]
    assert (said.code, spoiled["fix"]) == (1, "gaia backup take shop-dev1 qa")


def cli_home(cli: CommandLine) -> Path:
    return Path(cli.environ["GAIA_HOME"])


# -- gaia config KEY


def test_one_setting_is_shown_written_and_taken_out(bare: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "fresh" / "home" / "config.toml"
    assert bare("config", "server.port").out == "8080\n"
    assert bare("config", "server.port", "9191").out == "9191\n"
    assert bare("config", "database.url", "-", stdin="postgresql://me:hush@db/gaia\n").out.count("hush") == 0
    assert bare("config", "server.debug", "no", "--json").data["value"] == "False"
    assert bare("config", "environments.git_timeout", "2m").out == "120.0\n"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("# mine\n" + file.read_text())
    assert bare("config", "server.port", "--unset").code == 0
    text = file.read_text()
    assert text.startswith("# mine\n[server]\n")
    assert "port" not in text
    assert bare("config", "server.port", "70000").mistake(2)
    assert bare("config", "server.prot", "1").mistake(3)
    assert bare("config", "a.b.c", "--unset").mistake(2)
    assert file.read_text() == text
    file.write_text("[server\n")
    assert "another mistake" in bare("config", "server.port", "1").mistake(2)[1]


# -- the API


@pytest.fixture
def api(operator: Operator) -> Client:
    return Client(headers=operator.headers)


def send(api: Client, method: str, path: str, **body: Any) -> Any:
    return getattr(api, method)(f"/api/{path}", json.dumps(body), content_type="application/json")


def test_layers_in_the_api(api: Client, shop: Place) -> None:
    assert [one["name"] for one in api.get("/api/layers/").json()] == ["local", "integration", "staging", "production"]
    first = shop.base_port + 400
    made = send(api, "post", "layers/", name="demo", first_port=first, last_port=first + 5)
    assert (made.status_code, made.json()["ports"]) == (201, [first, first + 5])
    assert send(api, "post", "layers/", name="demo").status_code == 409
    assert send(api, "patch", "layers/demo/", variables={"A": "b"}).json()["variables"] == {"A": "b"}
    assert send(api, "patch", "layers/demo/", mcp="some").status_code == 400
    secret = send(api, "patch", "layers/demo/", postgresql_url="postgresql://me:hush@db")
    assert "hush" not in secret.content.decode()

    plan = send(api, "post", "environments/dev1/layer/", layer="demo", dry_run=True)
    assert plan.json()["ports"][0] == {"stage": "dev", "before": shop.base_port, "port": first}
    headers = {"Idempotency-Key": "once"}
    body = json.dumps({"layer": "demo"})
    asked = [
        api.post("/api/environments/dev1/layer/", body, content_type="application/json", headers=headers).json()["id"]
        for _ in range(2)
    ]
    assert asked[0] == asked[1]
    assert run_operation(asked[0]).state == "succeeded"
    assert api.get("/api/environments/dev1/").json()["layer"] == "demo"
    [drift] = api.get("/api/layers/drift/?environment=dev1").json()
    assert drift == {"environment": "shop-dev1", "layer": "demo", "findings": []}
    assert api.delete("/api/layers/demo/").status_code == 409
    assert api.get("/api/layers/nothing/").status_code == 404


def test_who_may_only_read_changes_nothing(transactional_db: None, acting: str) -> None:
    from policy.actions import ensure_operator, issue_token

    reader = Client(headers={"Authorization": f"Token {issue_token(ensure_operator(), 'r', scopes=['read'])}"})
    assert reader.get("/api/layers/").status_code == 200
    assert send(reader, "post", "layers/", name="demo").status_code == 403
    assert Client().get("/api/layers/").status_code == 401


# -- the console


@pytest.fixture
def pages(operator: Operator) -> Client:
    client = Client()
    client.force_login(operator.user)
    return client


def test_pages_of_layers(pages: Client, shop: Place) -> None:
    listed = pages.get("/admin/environments/layer/").content.decode()
    assert "8000–8014" in listed
    first = shop.base_port + 400
    fields = {"engine": "sqlite", "mcp": "off", "ports": f"{first}-{first + 5}", "variables": "A=b\r\nC=d e"}
    made = pages.post("/admin/environments/layer/new/", {"name": "demo", **fields})
    layer = Layer.objects.get(name="demo")
    assert made.url == f"/admin/environments/layer/{layer.pk}/change/"
    assert layer.variables == {"A": "b", "C": "d e"}
    wrong = pages.post(f"/admin/environments/layer/{layer.pk}/edit/", {**fields, "ports": "all"})
    assert "is no range of ports" in wrong.content.decode()
    pages.post(f"/admin/environments/layer/{layer.pk}/edit/", {**fields, "purpose": "<script>alert(1)</script>"})
    assert "<script>alert(1)" not in pages.get(made.url).content.decode()

    Layer.objects.filter(pk=layer.pk).update(variables={"API_TOKEN": "hush-hush"})
    edit = f"/admin/environments/layer/{layer.pk}/edit/"
    shown = pages.get(edit).content.decode()
    assert ("API_TOKEN=***" in shown, "hush-hush" in shown) == (True, False)
    pages.post(edit, {**fields, "variables": "API_TOKEN=***\r\nA=b"})
    assert Layer.objects.get(pk=layer.pk).variables == {"API_TOKEN": "hush-hush", "A": "b"}

    environment = Environment.objects.get()
    where = f"/admin/environments/layer/set/{environment.pk}/"
    assert "Show the plan" in pages.get(where).content.decode()
    plan = pages.post(where, {"layer": "demo", "key": "k"}).content.decode()
    assert f"{shop.base_port} → {first}" in plan
    refused = pages.post(where, {"layer": "integration", "key": "k"}).content.decode()
    assert "has no PostgreSQL server" in refused
    agreed = pages.post(where, {"layer": "demo", "key": "k", "agreed": "yes"})
    assert agreed.url == f"/admin/processes/operation/{Operation.objects.latest('id').pk}/change/"
    assert run_operation(Operation.objects.latest("id").pk).state == "succeeded"
    assert "shop-dev1" in pages.get(made.url).content.decode()
    assert "demo" in pages.get(f"/admin/environments/environment/{environment.pk}/change/").content.decode()


@pytest.mark.usefixtures("own_port")
def test_the_doctors_page(pages: Client, shop: Place) -> None:
    assert "Nobody has looked yet" in pages.get("/admin/doctor/").content.decode()
    assert pages.get("/admin/doctor/run/usual/").status_code == 405
    assert pages.post("/admin/doctor/run/wild/").status_code == 404
    (shop.path(1) / "launch.sh").unlink()
    assert pages.post("/admin/doctor/run/usual/").url == "/admin/doctor/"
    asked = Operation.objects.latest("id")
    assert "Looking …" in pages.get("/admin/doctor/").content.decode()
    assert "One is being made already" in pages.post("/admin/doctor/run/usual/", follow=True).content.decode()
    begun = time.time()
    assert run_operation(asked.pk).state == "succeeded"
    shown = pages.get("/admin/doctor/").content.decode()
    assert "launch.sh of shop-dev1 is missing" in shown
    assert "gaia env setup --project shop" in shown
    assert asked.created_at.timestamp() <= begun
    assert Client().get("/admin/doctor/").status_code == 302
    shop.set_up(1, base_port=shop.base_port)
    pages.post("/admin/doctor/run/ports/")
    assert run_operation(Operation.objects.latest("id").pk).state == "succeeded"
    assert "Nothing is wrong" in pages.get("/admin/doctor/").content.decode()

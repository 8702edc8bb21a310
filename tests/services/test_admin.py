"""The pages of services without a browser: what they show, what their buttons and forms do, what nobody is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from events.models import Event
from gaia_site.console.attention import Attention
from processes.models import Process
from services.console.forms import text_of
from services.console.pictures import SPARK_HEIGHT, spark, strips
from services.models import Service
from tests.console import rows
from tests.console.conftest import console  # noqa: F401  a fixture

pytestmark = pytest.mark.django_db

PAGE = "/admin/services/service/"
SECRET = "correct-horse-battery"
JSON = {"Accept": "application/json"}


def listed(console: Client, **query: str) -> list[str]:  # noqa: F811
    return [row.name for row in console.get(PAGE, query).context["cl"].result_list]


def page(console: Client, path: str) -> str:  # noqa: F811
    answer = console.get(path, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_list(console: Client) -> None:  # noqa: F811
    empty = page(console, PAGE)
    assert "Register a service…" in empty
    assert "gaia service register" in empty
    rows.services(3)
    bad = Service.objects.get(name="service001")
    Service.objects.filter(pk=bad.pk).update(state="crash_loop", problem="it died 5 times", alarmed_at=timezone.now())
    assert listed(console) == ["service000", "service001", "service002"]
    assert listed(console, state="crash_loop") == listed(console, needs="you") == listed(console, q="001")
    assert listed(console, kind="mcp") == []
    shown = page(console, PAGE)
    assert "crash loop" in shown
    assert shown.count("it died 5 times") == 4, "in its column, and below its name where that is left out"
    assert shown.count('class="spark" viewBox') == 6, "of CPU and memory"
    assert "hunter2" not in shown


def test_home_and_the_navigation_say_that_one_does_not_stay_up(console: Client) -> None:  # noqa: F811
    rows.services(2)
    assert Attention().counts["services"] == 0
    Service.objects.filter(name="service000").update(state="failed")
    assert [(item.key, item.text) for item in Attention().items] == [("services", "1 service not staying up")]
    assert f"{PAGE}?needs=you" in page(console, "/admin/")
    Service.objects.filter(name="service000").update(kind="stage")
    assert Attention().counts["services"] == 1
    assert Attention().items == [], "home tells of stages under environments"


def test_the_page_of_one(console: Client) -> None:  # noqa: F811
    _, one = rows.services(2)
    death = {"text": "ended with code 3", "at": timezone.now().isoformat(), "lines": ["no <database>"], "repeated": 1}
    Service.objects.filter(pk=one.pk).update(last_death=death, restarts=4)
    rows.answer(one, ok=False, said="connection refused")
    shown = page(console, f"{PAGE}by-name/{one.name}/")
    for text in (
        "ended with code 3", "no &lt;database&gt;", "connection refused", "service000", "512 MB", "the kernel: cgroup",
        f'data-charts="/api/orchestration/services/{one.name}/metrics/"', "Its last lines", "/bin/sh -c",
        f'data-log="/api/orchestration/services/{one.name}/logs/"', 'class="probe-strip"', "Restart…", "Stop…",
    ):  # fmt: skip
        assert text in shown, text
    assert "Unregister…" not in shown, "it runs"
    assert "API_KEY" in shown
    assert "hunter2" not in shown
    assert "data-part" not in shown.partition("data-charts")[2].partition("</section>")[0], "a merge would undo charts"


def test_parts_are_fetched_alone(console: Client) -> None:  # noqa: F811
    [one] = rows.services(1)
    path = f"{PAGE}{one.pk}/change/"
    answer = console.get(path, headers={"X-Gaia-Parts": "service-state service-buttons"}).content.decode()
    assert 'data-part="service-state"' in answer
    assert "Restart…" in answer
    assert "service-probes" not in answer
    assert "<html" not in answer


@pytest.mark.parametrize(("state", "desired", "offered"), [
    ("running", "up", ["Restart…", "Stop…"]),
    ("failed", "up", ["Start now", "Stop…", "Unregister…"]),
    ("crash_loop", "up", ["Start now", "Stop…", "Unregister…"]),
    ("stopped", "down", ["Start", "Unregister…"]),
])  # fmt: skip
def test_the_buttons_are_those_that_make_sense(
    console: Client,  # noqa: F811
    state: str,
    desired: str,
    offered: list[str],
) -> None:
    [one] = rows.services(1, state=state, desired=desired)
    if state != "running":
        rows.Process.objects.all().delete()
    shown = page(console, f"{PAGE}{one.pk}/change/")
    buttons = shown.partition('data-part="service-buttons"')[2].partition("</div>")[0]
    found = [part.rpartition(">")[2] for part in buttons.split("</button>")[:-1]]
    assert found == offered


def test_of_gaias_own_parts_nothing_is_changed_here(console: Client) -> None:  # noqa: F811
    [one] = rows.services(1, kind="platform")
    shown = page(console, f"{PAGE}{one.pk}/change/")
    assert "Change…" not in shown
    assert "A part of GAIA" in shown


def test_start_stop_and_restart(console: Client, registered: Callable[..., Service]) -> None:  # noqa: F811
    one = registered("api")
    base = f"{PAGE}{one.pk}/"
    told = console.post(f"{base}start/", headers=JSON).json()
    assert told == {"message": "Service api is started."}
    one.refresh_from_db()
    assert (one.state, one.desired) == ("starting", "up")
    assert Event.objects.filter(subject=one.owner, actor="user:operator").exists()
    console.post(f"{base}stop/")
    one.refresh_from_db()
    assert one.desired == "down"
    console.post(f"{base}restart/")
    one.refresh_from_db()
    assert one.desired == "up"
    for verb in ("start", "stop", "restart", "unregister"):
        assert console.get(f"{base}{verb}/").status_code == 405
        assert Client().post(f"{base}{verb}/")["Location"].startswith("/admin/login/")


def test_registering_by_the_form(console: Client) -> None:  # noqa: F811
    shown = page(console, f"{PAGE}register/")
    assert "&quot;auto_restart&quot;: true" in shown
    wanted = {**json.loads(text_of(None)), "port": 18083, "secrets": {"KEY": SECRET}}
    answer = console.post(f"{PAGE}register/", {"definition": json.dumps(wanted)})
    one = Service.objects.get()
    assert answer["Location"] == f"{PAGE}{one.pk}/change/"
    assert (one.name, one.desired, one.secrets) == ("api-server", "down", {"KEY": SECRET})
    change = page(console, f"{PAGE}{one.pk}/redefine/")
    assert "&quot;KEY&quot;: null" in change
    assert SECRET not in change
    changed = {**json.loads(text_of(one)), "command": ["true"]}
    console.post(f"{PAGE}{one.pk}/redefine/", {"definition": json.dumps(changed)})
    one.refresh_from_db()
    assert (one.argv, one.secrets) == (["true"], {"KEY": SECRET})
    console.post(f"{PAGE}{one.pk}/unregister/")
    assert not Service.objects.exists()


def test_the_form_starts_it_if_wanted(console: Client) -> None:  # noqa: F811
    console.post(f"{PAGE}register/", {"definition": '{"name": "a", "command": "true"}', "start": "1"})
    assert Service.objects.get().desired == "up"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"name": "a",\n "command" "true"}', ("line 2, column 12", "double quotes")),
        ("", ("no JSON",)),
        ("[1]", ("an object",)),
        ('{"name": "a"}', ("command",)),
        ('{"name": "a", "command": "true", "depends_on": ["b"]}', ("depends on b",)),
        ("[" * 100_000, ("too deeply",)),
        ('"' + "x" * 300_000 + '"', ("longer than",)),
    ],
)
def test_a_mistake_is_told_and_the_text_is_kept(console: Client, text: str, says: tuple[str, ...]) -> None:  # noqa: F811
    answer = console.post(f"{PAGE}register/", {"definition": text})
    assert answer.status_code == 200
    shown = answer.content.decode()
    for each in says:
        assert each in shown
    assert 'aria-invalid="true"' in shown
    assert answer.context["text"] == text
    assert not Service.objects.exists()


def test_a_sparkline() -> None:
    assert spark([(0, 1)], begin=0, end=10, least=1, text="") is None
    drawn = spark([(0, 0), (5, 10), (10, 5)], begin=0, end=10, least=1, text="CPU")
    assert drawn is not None
    assert drawn.line == f"0.0,{SPARK_HEIGHT - 1:.1f} 32.0,1.0 64.0,9.0"
    calm = spark([(0, 1), (10, 1)], begin=0, end=10, least=100, text="")
    assert calm is not None
    assert calm.line.endswith(f",{SPARK_HEIGHT - 1 - 0.16:.1f}")


def period(ok: bool, since: Any, until: Any, probe: str = "health", **more: Any) -> dict[str, Any]:
    told = {"probe": probe, "ok": ok, "answer": "", "since": since.isoformat(), "checked_at": until.isoformat()}
    return {**told, **more}


def test_how_a_probe_answered() -> None:
    end = timezone.now()
    begin, hour = end - timedelta(hours=24), timedelta(hours=1)
    found = strips(
        [
            period(True, begin - 30 * hour, begin - hour),
            period(True, begin - hour, begin + 6 * hour),
            period(False, begin + 6 * hour, begin + 6 * hour + timedelta(seconds=1)),
            period(True, begin + 6 * hour, end),
            period(True, begin, end, "other"),
        ],
        begin=begin,
        end=end,
    )
    assert set(found) == {"health", "other"}
    assert found["other"].text == "always well"
    assert found["health"].text == "99.9 % well, 1 failure"
    pieces = found["health"].pieces
    assert [piece["ok"] for piece in pieces] == [True, True, False], "what is bad lies on top"
    assert (pieces[0]["x"], pieces[0]["width"]) == (0, 250)
    assert (pieces[2]["x"], pieces[2]["width"]) == (250, 4), "a moment is seen, too"


def test_coming_up_is_no_failure() -> None:
    end = timezone.now()
    begin, hour = end - timedelta(hours=24), timedelta(hours=1)
    coming = period(False, begin, begin + hour, coming_up=True)
    assert strips([coming], begin=begin, end=end)["health"].text == "coming up"
    found = strips([coming, period(True, begin + hour, end)], begin=begin, end=end)["health"]
    assert found.text == "always well"
    assert [(piece["look"], piece["title"]) for piece in found.pieces] == [("is-coming", "coming up"), ("", "well")]
    bad = period(False, end - hour, end)
    found = strips([coming, period(True, begin + hour, end - hour), bad], begin=begin, end=end)["health"]
    assert found.text == "95.6 % well, 1 failure", "of 23 hours"
    assert [piece["look"] for piece in found.pieces] == ["is-coming", "", "is-bad"]


def test_the_page_of_a_start_shows_no_secrets(console: Client, tmp_path: Path) -> None:  # noqa: F811
    [service] = rows.services(1)
    Service.objects.filter(pk=service.pk).update(secrets={"TOKEN": SECRET, "UNSET": None})
    log = tmp_path / "api.log"
    log.write_text(f"began with {SECRET}\n")
    start = rows.ended(service.owner, 1)
    Process.objects.filter(pk=start.pk).update(log=str(log), cwd=str(tmp_path))
    answer = console.get(f"/admin/processes/process/{start.pk}/log/").json()
    assert answer == {"text": "began with ***\n"}

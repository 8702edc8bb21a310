"""Jobs by the clock: when they run, in words; on, off, now; what became of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, override_settings
from django.utils import timezone
from django.utils.html import escape
from django.utils.module_loading import import_string
from django_q.models import OrmQ, Schedule, Task
from django_q.monitor import save_task
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from common.errors import Conflict, InvalidInput, NotFound
from events.models import Event
from gaia_site import scheduling, timetable
from gaia_site.forgetting import STARTS_KEPT, forget_old
from gaia_site.schedules import SCHEDULES, ensure_schedules
from gaia_site.timetable import next_after, parse, preview, upcoming, words
from processes.models import Operation, Process
from sessions.models import Session
from tests.conftest import Operator
from tests.console import rows
from tests.endpoints import client_of, problem

NOW = datetime(2030, 5, 15, 12, 30, tzinfo=UTC)  # a Wednesday


def said(when: timetable.When) -> str:
    return words(Schedule(**when.fields()))


# -- words


@pytest.mark.parametrize(
    ("text", "meant", "first"),
    [
        ("every 5 minutes", "every 5 minutes", "05-15 12:35"),
        ("5m", "every 5 minutes", "05-15 12:35"),
        ("every minute", "every minute", "05-15 12:31"),
        ("every 2 hours", "every 2 hours", "05-15 14:30"),
        ("1h", "every 60 minutes", "05-15 13:30"),
        ("hourly", "hourly at :00", "05-15 13:00"),
        ("hourly at :45", "hourly at :45", "05-15 12:45"),
        ("every hour at 15", "hourly at :15", "05-15 13:15"),
        ("daily", "daily at 03:00", "05-16 03:00"),
        ("Daily at 12:31", "daily at 12:31", "05-15 12:31"),
        ("every day at 12:30", "daily at 12:30", "05-16 12:30"),
        ("weekly", "weekly on Sunday at 03:00", "05-19 03:00"),
        ("weekly on wed at 12:00", "weekly on Wednesday at 12:00", "05-22 12:00"),
        ("monthly", "monthly on 1 at 03:00", "06-01 03:00"),
        ("monthly on the 28th at 4:05", "monthly on 28 at 04:05", "05-28 04:05"),
        ("cron 0 3 * * 1-5", "cron 0 3 * * 1-5", "05-16 03:00"),
        ("*/10 * * * *", "cron */10 * * * *", "05-15 12:40"),
    ],
)
def test_what_words_mean(text: str, meant: str, first: str) -> None:
    found = parse(text, NOW)
    assert said(found) == meant
    assert f"{found.first:%m-%d %H:%M}" == first
    assert said(parse(meant, NOW)) == meant, "what is shown can be typed again"


@pytest.mark.parametrize(
    "text",
    [
        "", "never", "every 0 minutes", "every 999999 hours", "hourly at :60", "daily at 24:00", "daily at noon",
        "weekly on someday", "weekly on t", "monthly on 31", "monthly on 0", "cron 0 3 * *", "cron 61 * * * *",
        "cron 0 0 31 2 *", "* * * * * *", "r r * * *", "cron r(0-30) 3 * * *",
        "daily at 03:00; rm -rf /",
    ],
)  # fmt: skip
def test_what_says_nothing(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text, NOW)
    assert caught.value.fix


@given(st.integers(1, 20_160), st.integers(0, 23), st.integers(0, 59), st.integers(0, 6), st.integers(1, 28))
def test_words_and_back(minutes: int, hour: int, minute: int, day: int, date: int) -> None:
    clock = f"{hour:02}:{minute:02}"
    for text in (
        f"every {minutes} minutes", f"hourly at :{minute:02}", f"daily at {clock}",
        f"weekly on {timetable.DAYS[day]} at {clock}", f"monthly on {date} at {clock}",
    ):  # fmt: skip
        when = parse(text, NOW)
        assert when.first > NOW
        assert parse(said(when), NOW).fields() == when.fields()


def test_times_are_of_the_settings_time_zone() -> None:
    with override_settings(TIME_ZONE="Europe/Berlin"):
        when = parse("daily at 03:10", NOW)
        assert when.first.astimezone(UTC) == datetime(2030, 5, 16, 1, 10, tzinfo=UTC)
        assert said(when) == "daily at 03:10"


def test_the_next_three_runs() -> None:
    daily = Schedule(**parse("daily at 03:10", NOW).fields())
    assert [f"{run:%m-%d %H:%M}" for run in upcoming(daily, 3, NOW)] == ["05-16 03:10", "05-17 03:10", "05-18 03:10"]
    weekdays = Schedule(**parse("cron 0 3 * * 1-5", NOW).fields())
    assert [f"{run:%m-%d}" for run in upcoming(weekdays, 3, NOW)] == ["05-16", "05-17", "05-20"]
    monthly = Schedule(**parse("monthly on 28", NOW).fields())
    assert [f"{run:%m-%d}" for run in upcoming(monthly, 3, NOW)] == ["05-28", "06-28", "07-28"]
    assert len(preview("every 5 minutes")) == 3


def test_one_that_was_off_for_long_goes_on_with_its_next_time() -> None:
    for text in ("every 7 minutes", "hourly", "daily at 03:10", "weekly", "monthly on 3", "cron 0 3 * * *"):
        schedule = Schedule(**parse(text, NOW - timedelta(days=365)).fields())
        run = next_after(schedule, NOW)
        assert NOW < run <= NOW + timedelta(days=31), text
        assert words(schedule).split(" on ")[0].split(" at ")[0] in text


# -- what operators do

pytestmark = pytest.mark.django_db
commits = pytest.mark.django_db(transaction=True)  # the queue's own code closes the connection


@pytest.fixture
def made(acting: str) -> None:
    ensure_schedules()


def trash() -> Schedule:
    return scheduling.find("purge-trash")


def told(kind: str) -> list[str]:
    return list(Event.objects.filter(kind=kind).order_by("id").values_list("message", flat=True))


def test_every_built_in_says_what_it_does_and_can_be_called() -> None:
    for name, built_in in SCHEDULES.items():
        assert built_in["does"].endswith("."), name
        assert callable(import_string(built_in["func"])), name


def test_off_stays_off_and_another_rhythm_stays_over_restarts(made: None) -> None:
    assert scheduling.turn(trash(), on=False)
    assert not scheduling.turn(trash(), on=False)
    scheduling.change(scheduling.find("forget-old"), "weekly on Monday at 06:00")
    ensure_schedules()
    assert trash().repeats == scheduling.OFF
    assert words(scheduling.find("forget-old")) == "weekly on Monday at 06:00"
    assert told("schedule.turned_off") == ["Schedule purge-trash was turned off"]
    assert scheduling.turn(trash(), on=True)
    assert trash().next_run > timezone.now(), "turned on, it waits for its time"


@commits
def test_what_is_off_is_never_begun(made: None) -> None:
    """By django-q2's own scheduler."""
    Schedule.objects.exclude(name="purge-trash").delete()
    Schedule.objects.update(next_run=timezone.now() - timedelta(days=3))
    scheduling.turn(trash(), on=False)
    scheduler()
    assert not OrmQ.objects.exists()
    Schedule.objects.update(repeats=scheduling.FOREVER)
    scheduler()
    [queued] = OrmQ.objects.all()
    assert queued.group() == "purge-trash"
    assert trash().next_run > timezone.now()


@commits
def test_a_cron_expression_is_understood_by_the_scheduler(made: None) -> None:
    Schedule.objects.exclude(name="purge-trash").delete()
    scheduling.change(trash(), "cron 17 4 * * *")
    Schedule.objects.update(next_run=timezone.now() - timedelta(minutes=1))
    scheduler()
    assert OrmQ.objects.count() == 1
    assert (timezone.localtime(trash().next_run).hour, timezone.localtime(trash().next_run).minute) == (4, 17)


def test_another_rhythm_is_told_and_the_same_is_not(made: None) -> None:
    assert scheduling.change(trash(), "daily at 04:00")
    assert not scheduling.change(trash(), "every day at 4:00")
    [message] = told("schedule.changed")
    assert message.startswith("Schedule purge-trash runs daily at 04:00, no longer daily at ")
    with pytest.raises(InvalidInput):
        scheduling.change(trash(), "now and then")


@commits
def test_run_now_is_done_once_and_its_times_stay(made: None) -> None:
    before = trash().next_run
    task = scheduling.run_now(trash())
    assert scheduling.describe_all([trash()])[0]["state"] == "queued"
    with pytest.raises(Conflict, match="waits to run"):
        scheduling.run_now(trash())
    work_off(True, 3)
    assert trash().next_run == before
    [described] = scheduling.describe_all([trash()])
    assert trash().task == task
    assert (described["state"], described["last"]["ok"], described["last"]["result"]) == ("succeeded", True, "3")
    assert told("schedule.run_requested") == ["Schedule purge-trash was asked to run now"]


def work_off(success: bool, result: Any) -> None:
    """What a worker and the monitor do with the one message in the queue."""
    message = OrmQ.objects.get()
    task = SignedPackage.loads(message.payload)
    save_task({**task, "stopped": timezone.now(), "success": success, "result": result, "cached": False}, None)
    message.delete()


@commits
def test_a_failure_is_told_once_a_day_and_its_end(made: None) -> None:
    def fails() -> None:
        scheduling.run_now(trash())
        work_off(False, "the disk at ssh://me:hunter2@host is full : Traceback (most recent call last):\n  File …")

    fails()
    fails()
    assert told("schedule.failed") == ["Schedule purge-trash failed: the disk at ssh://me:***@host is full"]
    [event] = Event.objects.filter(kind="schedule.failed")
    assert (event.level, event.actor, event.subject) == ("warning", "jobs:purge-trash", "schedule/purge-trash")
    Event.objects.update(at=timezone.now() - timedelta(days=1, minutes=1))
    fails()
    assert len(told("schedule.failed")) == 2
    [described] = scheduling.describe_all([trash()])
    assert described["state"] == "failed"
    assert described["last"]["problem"].startswith("the disk at")
    for _ in range(2):
        scheduling.run_now(trash())
        work_off(True, 0)
    assert told("schedule.recovered") == ["Schedule purge-trash works again"]


def test_other_tasks_are_nobodys_schedule(made: None) -> None:
    Task.objects.create(id="1" * 32, name="x", func="y", started=timezone.now(), stopped=timezone.now(), success=False)
    assert told("schedule.failed") == []


def test_built_in_ones_are_turned_off_not_removed(made: None) -> None:
    with pytest.raises(Conflict, match="comes with GAIA") as caught:
        scheduling.remove(trash())
    assert "gaia schedule off purge-trash" in caught.value.fix
    other = Schedule.objects.create(name="mine", func="tests.gaia_site.a_job.take_a_while")
    scheduling.remove(other)
    with pytest.raises(NotFound, match="no schedule 'mine'"):
        scheduling.find("mine")


# -- forgetting


def test_what_is_over_for_long_is_forgotten_and_what_is_needed_stays(made: None) -> None:
    long_ago = timezone.now() - timedelta(days=settings.GAIA["jobs.keep_days"] + 1)
    gone, live = rows.sessions(2)
    Session.objects.filter(pk=gone.pk).update(state="gone", ended_at=long_ago)
    done, failed = rows.operation("succeeded", "project/one"), rows.operation("failed", "project/two")
    running = rows.operation("running", "project/three")
    Operation.objects.exclude(pk=running.pk).update(ended_at=long_ago)
    first, *others = [rows.ended("environment/dev1/qa", 0) for _ in range(STARTS_KEPT + 1)]
    of_operation, runs = rows.ended(done.owner, 0), rows.process("environment/dev1/dev")
    Process.objects.exclude(pk=runs.pk).update(ended_at=long_ago)
    for number, (group, at) in enumerate([("a", long_ago), ("a", timezone.now()), ("b", long_ago), (None, long_ago)]):
        Task.objects.create(id=f"{number:032}", name="x", func="y", group=group, started=at, stopped=at)
    removed = rows.environments(1)
    events = Event.objects.count()

    assert forget_old(timezone.now()) == 6

    assert list(Session.objects.all()) == [live]
    assert set(Operation.objects.all()) == {failed, running}, "a failure nobody has dealt with still needs somebody"
    assert {first, of_operation} & set(Process.objects.all()) == set()
    assert {*others, runs} <= set(Process.objects.all())
    assert set(Task.objects.values_list("id", flat=True)) == {f"{1:032}", f"{2:032}"}
    assert removed
    assert Event.objects.count() == events + 4, "one for each kind, and none of the log itself is gone"
    assert forget_old(timezone.now()) == 0


# -- over the API

SCHEDULES_PATH = "/api/schedules/"


@pytest.fixture
def client(operator: Operator) -> APIClient:
    return client_of(operator.token)


def test_schedules_over_the_api(client: APIClient, made: None) -> None:
    listed = client.get(SCHEDULES_PATH).json()
    assert [one["name"] for one in listed] == sorted(SCHEDULES)
    path = f"{SCHEDULES_PATH}purge-trash/"
    answer = client.patch(path, {"when": "daily at 04:00", "dry_run": True})
    assert answer.status_code == 202
    assert len(answer.json()["next_runs"]) == 3
    assert "04:00" not in client.get(path).json()["when"], "nothing was changed"
    changed = client.patch(path, {"when": "daily at 04:00", "enabled": False}).json()
    assert (changed["when"], changed["enabled"], changed["next_run"], changed["state"]) == (
        "daily at 04:00", False, None, "off",
    )  # fmt: skip
    run = client.post(f"{path}run/")
    assert (run.status_code, run.json()["state"]) == (202, "queued")
    problem(client.post(f"{path}run/"), 409)
    problem(client.patch(path, {"when": "sometime"}), 400)
    assert "Turn it off" in problem(client.delete(path), 409)["fix"]
    problem(client.get(f"{SCHEDULES_PATH}nobody/"), 404)


def test_the_list_costs_three_queries_however_long(made: None, django_assert_num_queries: Callable[..., Any]) -> None:
    now = timezone.now()
    Task.objects.create(id="1" * 32, name="x", func="y", group="health", started=now, stopped=now)
    with django_assert_num_queries(4):  # the schedules themselves
        scheduling.describe_all(Schedule.objects.all())


# -- in the console

JOBS = "/admin/django_q/schedule/"


@pytest.fixture
def console(operator: Operator) -> Client:
    client = Client()
    client.force_login(operator.user)
    return client


def test_the_list_says_what_each_does_and_when(console: Client, made: None) -> None:
    Task.objects.create(
        id="1" * 32, name="x", func="y", group="purge-trash", started=timezone.now() - timedelta(seconds=3),
        stopped=timezone.now(), success=False, result="no room : Traceback …",
    )  # fmt: skip
    page = console.get(JOBS).content.decode()
    for name, built_in in SCHEDULES.items():
        assert name in page
        assert escape(built_in["does"]) in page
    assert "every 5 minutes" in page
    assert "no room" in page
    assert "3.0 s" in page


def test_verbs_of_the_console(console: Client, made: None) -> None:
    path = f"{JOBS}{trash().pk}/"
    assert "Remove…" not in console.get(f"{path}change/").content.decode(), "it would come back"
    for verb, repeats in (("off", 0), ("on", -1)):
        console.post(f"{path}{verb}/")
        assert trash().repeats == repeats
    answer = console.post(f"{path}run/", headers={"Accept": "application/json"})
    assert answer.json()["message"] == "purge-trash runs as soon as a worker is free."
    assert console.post(f"{path}run/", headers={"Accept": "application/json"}).status_code == 409
    assert console.post(f"{path}remove/", headers={"Accept": "application/json"}).status_code == 409
    assert console.post(f"{path}change/", {"func": "os.system"}).status_code == 403
    assert console.get(f"{path}delete/").status_code == 403


def test_when_is_previewed_before_it_is_saved(console: Client, made: None) -> None:
    path, before = f"{JOBS}{trash().pk}/when/", words(trash())
    assert before in console.get(path).content.decode()
    preview_page = console.post(path, {"when": "weekly on Friday at 05:30"}).content.decode()
    assert preview_page.count("05:30</li>") + preview_page.count("Friday 20") >= 3
    assert words(trash()) == before
    assert "does not say when" in console.post(path, {"when": "soon", "agreed": "yes"}).content.decode()
    answer = console.post(path, {"when": "weekly on Friday at 05:30", "agreed": "yes"})
    assert answer.headers["Location"] == f"{JOBS}{trash().pk}/change/"
    assert words(trash()) == "weekly on Friday at 05:30"


def test_the_page_of_one_shows_its_last_runs(console: Client, made: None) -> None:
    now = timezone.now()
    for number in range(12):
        Task.objects.create(
            id=f"{number:032}", name="x", func="y", group="purge-trash", started=now, stopped=now, result=number
        )
    page = console.get(f"{JOBS}{trash().pk}/change/").content.decode()
    assert page.count('data-key="run-') == 10
    assert page.count("<dt>then</dt>") == 2


def test_first_runs_are_at_night(acting: str) -> None:
    ensure_schedules()
    told = {name: words(scheduling.find(name)) for name in ("weekly-sync", "monthly-clean", "forget-old")}
    assert told == {
        "weekly-sync": "weekly on Sunday at 04:00",
        "monthly-clean": "monthly on 1 at 04:30",
        "forget-old": "monthly on 1 at 05:00",
    }
    assert timetable.first_run(Schedule.DAILY, "03:10", NOW) == datetime(2030, 5, 16, 3, 10, tzinfo=UTC)

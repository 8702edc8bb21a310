"""Many stops in one thread, with the guarantees of a single one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from processes.drivers import stops as module
from processes.drivers.liveness import Census
from processes.drivers.spawn import Spawned, Spec
from processes.drivers.stop import StopReport
from processes.drivers.stops import Stops
from tests.processes.conftest import running
from tests.processes.drivers.conftest import Place, Until


@pytest.fixture
def stops() -> Iterator[Stops[str]]:
    made: Stops[str] = Stops()
    yield made
    made.close()


def everything(stops: Stops[str]) -> dict[str, StopReport | Exception]:
    found: dict[str, StopReport | Exception] = {}
    while stops.pending:
        found.update(stops.run())
    return found


def add(stops: Stops[str], key: str, started: tuple[Spec, Spawned], grace: float = 30.0) -> None:
    stops.add(key, started[1].identity, token=started[0].token, grace=grace)


def test_many_share_their_looks(stops: Stops[str], place: Place, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each needs three looks at least; thirty need few more than one does."""
    looks = []

    def counted(since: int = 0) -> Census:
        looks.append(since)
        return Census(since)

    monkeypatch.setattr(module, "Census", counted)
    started = [place.sh(f"touch up{number}; exec sleep 100") for number in range(30)]
    until(lambda: all(place.exists(f"up{number}") for number in range(30)))
    for number, one in enumerate(started):
        add(stops, str(number), one)
    found = everything(stops)
    assert sorted(found, key=int) == [str(number) for number in range(30)]
    assert all(isinstance(report, StopReport) and report.ended for report in found.values())
    assert all(place.code(spec.token) == 143 for spec, _ in started)
    assert len(looks) <= 60, "90 and more if each had its own"


def test_one_that_takes_its_time_holds_nobody_up(stops: Stops[str], place: Place, until: Until) -> None:
    slow = place.sh("trap 'touch asked' TERM; touch up1; while [ ! -e go ]; do sleep 0.01; done")
    quick = place.sh("touch up2; exec sleep 100")
    until(lambda: place.exists("up1") and place.exists("up2"))
    add(stops, "slow", slow)
    add(stops, "quick", quick)
    assert [key for key, _ in stops.run()] == ["quick"]
    assert stops.pending
    (place.root / "go").touch()
    assert [key for key, _ in stops.run()] == ["slow"]
    assert not stops.pending
    assert place.code(slow[0].token) == 0


def test_one_that_is_added_while_others_are_waited_for(stops: Stops[str], place: Place, until: Until) -> None:
    slow = place.sh("trap '' TERM; touch up1; while [ ! -e go ]; do sleep 0.01; done")
    late = place.sh("touch up2; exec sleep 100")
    until(lambda: place.exists("up1") and place.exists("up2"))
    add(stops, "slow", slow, grace=1000)
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(key for key, _ in stops.run()))
    thread.start()
    add(stops, "late", late)
    thread.join(60)
    assert found == ["late"]
    (place.root / "go").touch()
    assert list(everything(stops)) == ["slow"]


def test_who_ignores_term_is_killed(stops: Stops[str], place: Place, until: Until) -> None:
    """With what it has in other sessions; several at the same time."""
    script = (
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ >far{0}; while :; do sleep 100; done' & "
        "echo $$ >near{0}; while :; do sleep 100; done"
    )
    started = [place.sh(script.format(number)) for number in range(5)]
    pids = [until(lambda name=f"{name}{n}": place.pid_in(name)) for n in range(5) for name in ("far", "near")]
    for number, one in enumerate(started):
        add(stops, str(number), one, grace=0.1)
    reports = everything(stops)
    assert all(isinstance(report, StopReport) and report.ended for report in reports.values())
    assert not any(running(pid) for pid in pids)
    assert [place.code(spec.token) for spec, _ in started] == [137] * 5


def test_one_that_fails_hinders_no_other(
    stops: Stops[str], place: Place, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = place.sh("touch up1; exec sleep 100"), place.sh("touch up2; exec sleep 100")
    until(lambda: place.exists("up1") and place.exists("up2"))

    def fail(_: str) -> None:
        raise RuntimeError("on purpose")

    stops.add("bad", bad[1].identity, token=bad[0].token, grace=1, on_progress=fail)
    add(stops, "good", good)
    found = everything(stops)
    assert str(found["bad"]) == "on purpose"
    assert isinstance(found["good"], StopReport)
    add(stops, "bad", bad)
    assert isinstance(everything(stops)["bad"], StopReport)


def test_without_pidfds(stops: Stops[str], place: Place, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    started = [place.sh(f"touch up{number}; exec sleep 100") for number in range(3)]
    until(lambda: all(place.exists(f"up{number}") for number in range(3)))
    for number, one in enumerate(started):
        add(stops, str(number), one)
    assert all(isinstance(report, StopReport) and report.ended for report in everything(stops).values())


def test_no_descriptor_is_left(place: Place, until: Until) -> None:
    before = len(os.listdir("/proc/self/fd"))
    stops: Stops[str] = Stops()
    one = place.sh("touch up; exec sleep 100")
    until(lambda: place.exists("up"))
    add(stops, "one", one)
    assert everything(stops)
    stops.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_nothing_to_do(stops: Stops[str]) -> None:
    assert stops.run() == []

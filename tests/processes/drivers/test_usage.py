"""What trees of real processes use."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from processes.drivers import usage
from processes.drivers.spawn import Spawned, Spec
from processes.drivers.table import PsutilTable, table
from processes.drivers.usage import Meter, Tree
from tests.processes.drivers.conftest import Place, Until

_BURNS = "while :; do :; done"


def tree(spec: Spec, spawned: Spawned, key: str = "one") -> Tree:
    return Tree(key, spawned.identity, spec.token)


def test_memory_of_all_its_processes(place: Place, until: Until) -> None:
    """Of a child in a session of its own, too; the shim does not count."""
    eat = "python3 -c \"held = b'x' * 30_000_000; open('{}', 'w').close(); import time; time.sleep(100)\""
    started = place.sh(f"setsid {eat.format('far')} & {eat.format('near')}")
    until(lambda: place.exists("far") and place.exists("near"))
    total = Meter().look([tree(*started)])["one"]
    assert 60_000_000 < total.memory < 200_000_000
    assert len(total.pids) == 3  # sh and two of them
    assert started[1].pid not in total.pids


def test_cpu_goes_on_counting_when_children_end(place: Place, until: Until) -> None:
    """What a child used that has ended is its parent's, who has waited for it."""
    started = place.sh("python3 -c 'sum(range(20_000_000))'; touch up; exec sleep 100")
    until(lambda: place.exists("up"))
    assert Meter().look([tree(*started)])["one"].cpu_s >= 0.1


def test_cpu_of_one_that_works(place: Place, until: Until) -> None:
    started = place.sh(_BURNS)
    meter = Meter()
    first = meter.look([tree(*started)])["one"].cpu_s
    until(lambda: meter.look([tree(*started)])["one"].cpu_s > first)


def test_each_has_its_own(place: Place, until: Until) -> None:
    idle, busy = place.sh("touch idle; exec sleep 100"), place.sh("touch busy; " + _BURNS)
    until(lambda: place.exists("idle") and place.exists("busy"))
    meter, trees = Meter(), [tree(*idle, "idle"), tree(*busy, "busy")]
    until(lambda: meter.look(trees)["busy"].cpu_s >= 0.05)
    totals = meter.look(trees)
    assert totals["idle"].cpu_s < totals["busy"].cpu_s
    assert not set(totals["idle"].pids) & set(totals["busy"].pids)


def test_one_that_comes_up_between_two_looks(place: Place, until: Until) -> None:
    """It was a stranger's when it was first seen: nobody had told of its tree."""
    first, second = place.sh("touch 1; exec sleep 100"), place.sh("touch 2; exec sleep 100")
    until(lambda: place.exists("1") and place.exists("2"))
    meter = Meter()
    assert len(meter.look([tree(*first, "first")])["first"].pids) == 1
    totals = meter.look([tree(*first, "first"), tree(*second, "second")])
    assert [len(totals[key].pids) for key in ("first", "second")] == [1, 1]


def test_children_that_come_later_are_found(place: Place, until: Until) -> None:
    os.mkfifo(place.root / "go")
    started = place.sh("touch up; read x <go; setsid sleep 100 & sleep 100")
    until(lambda: place.exists("up"))
    meter = Meter()
    assert len(meter.look([tree(*started)])["one"].pids) == 1
    (place.root / "go").write_text("\n")
    until(lambda: len(meter.look([tree(*started)])["one"].pids) == 3)


def test_one_that_has_ended_uses_nothing(place: Place, reaped: Callable[[int], int]) -> None:
    started = place.sh("exit 0")
    reaped(started[1].pid)
    total = Meter().look([tree(*started)])["one"]
    assert (total.memory, total.pids) == (0, ())


def test_shared_pages_count_once(place: Place, until: Until) -> None:
    """Four forks of one that holds 40 MB hold 40 MB together, not 200."""
    fork = (
        "import os, time; held = b'x' * 40_000_000\n"
        "for n in range(4):\n"
        "    if os.fork() == 0: open(str(n), 'w').close(); time.sleep(100)\n"
        "time.sleep(100)"
    )
    spec = place.spec("python3", "-c", fork)
    started = spec, place.start(spec)
    until(lambda: all(place.exists(str(number)) for number in range(4)))
    total = Meter().look([tree(*started)])["one"]
    assert total.memory > 160_000_000
    assert usage.own_memory(total.pids, total.memory) < 120_000_000
    assert 40_000_000 < total.own_memory < 120_000_000
    assert usage.own_memory([2**22 + 1], 7) == 7


def test_what_is_shared_is_looked_up_now_and_then(place: Place, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    """In between, what a group grows by counts in full."""
    fork = (
        "import os, time; held = b'x' * 40_000_000\n"
        "if os.fork() == 0: open('up', 'w').close(); time.sleep(100)\n"
        "while not os.path.exists('more'): time.sleep(0.01)\n"
        "more = b'y' * 50_000_000; open('grown', 'w').close(); time.sleep(100)"
    )
    spec = place.spec("python3", "-c", fork)
    started = tree(spec, place.start(spec))
    until(lambda: place.exists("up"))
    seconds, asked = [0.0], []
    own = usage.own_memory
    monkeypatch.setattr(usage, "own_memory", lambda *given: asked.append(seconds[0]) or own(*given))
    meter = Meter(lambda: seconds[0])
    before = meter.look([started])["one"]
    (place.root / "more").touch()
    until(lambda: place.exists("grown"))
    for moment in (5.0, 11.0, 30.0, 70.0, 72.0):
        seconds[0] = moment
        total = meter.look([started])["one"]
        assert total.own_memory - before.own_memory > 45_000_000
    assert asked == [0.0, 11.0, 72.0], "at first, after it has changed, and a minute later"


def test_without_a_look_at_the_pages_files_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one = table()
    monkeypatch.setattr(one, "own_memory", lambda pid: None)
    use, shared = one.use(os.getpid()), one.shared_memory(os.getpid())
    assert use is not None
    assert shared is not None
    assert 0 < shared < use.memory
    together = usage.own_memory([os.getpid()] * 3, 7)
    assert abs(together - (3 * use.memory - 2 * shared)) < 4_000_000
    monkeypatch.setattr(one, "shared_memory", lambda pid: None)
    assert usage.own_memory([os.getpid()], 7) == 7


def test_open_files(place: Place, until: Until) -> None:
    started = place.sh("exec 3</dev/null 4</dev/null 5</dev/null; touch up; sleep 100; :")
    until(lambda: place.exists("up"))
    assert usage.most_open_files(Meter().look([tree(*started)])["one"].pids) >= 6
    assert usage.most_open_files([2**22 + 1]) == 0


@pytest.mark.parametrize("kind", ["own", "psutil"])
def test_the_tables_tell_the_same(kind: str) -> None:
    one = table() if kind == "own" else PsutilTable()
    use = one.use(os.getpid())
    assert use is not None
    assert use.row.pid == os.getpid()
    assert use.cpu_s > 0.1
    assert 10_000_000 < use.memory < 4_000_000_000
    assert (one.open_files(os.getpid()) or 0) > 3
    assert 0 < one.age(use.row.start_ticks) < 86400
    assert one.use(2**22 + 1) is None
    assert one.open_files(2**22 + 1) is None

"""Sessions that GAIA did not start: seen as they are, told apart, gone when they are gone, and never changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common.errors import Conflict
from events.models import Event
from sessions import others
from sessions.actions import control, start
from sessions.configured import fleet
from sessions.models import Session
from sessions.others import Lookout
from sessions.overview import groups_overview, missing_overview
from sessions.states import Origin, Runs, SessionState
from tests.sessions.by_hand import Tmux, install
from tests.sessions.seen import PATIENCE, Make, listens, looked, ours_after_a_look, rows
from tests.waiting import until

FLEET = {
    "dev3_worker": ("dev_workers", "ollama"),
    "pr_review1": ("pr_review", "claude"),
    "pr_review2": ("pr_review", "claude"),
    "pr_review3": ("pr_review", "ollama"),
    "pr_impl1": ("pr_implementation", "codex"),
    "pr_impl4": ("pr_implementation", "ollama"),
    "pr_integ2": ("pr_integration", "ollama"),
    "architect": ("high_level", "claude"),
    "manager1": ("high_level", "codex"),
    "claude_architect": ("high_level", "claude"),
    "codex_worker1": ("existing", "codex"),
    "qa_worker7": ("existing", "ollama"),
    "my-claude": ("other", "claude"),
    "gemini": ("other", "gemini"),
    "opencode-2": ("other", "ollama"),
    "notes": ("other", "system"),
}


@pytest.fixture(autouse=True)
def _acting(db: None, acting: str) -> None:
    pass


def test_they_are_seen_in_their_groups_and_left_as_they_are(stranger: Make) -> None:
    server = stranger("default", *FLEET)
    before = server.state()
    found = looked()
    assert {name: (row.group, row.provider) for name, row in found.items()} == FLEET
    assert {row.origin for row in found.values()} == {Origin.FOREIGN}
    assert {row.socket for row in found.values()} == {str(server.socket)}
    row = found["notes"]
    assert (row.state, row.tmux_server_pid, row.cwd) == (SessionState.RUNNING, server.pid, "/")
    assert str(row.pane_pid) == server("list-panes", "-t", "=notes", "-F", "#{pane_pid}")
    assert server.state() == before
    assert Event.objects.get(kind="session.seen", subject="session/notes@default").message.startswith("Session notes,")


def test_what_does_not_change_costs_one_query(stranger: Make) -> None:
    for name in ("one", "two", "three", "four", "five"):
        stranger(name, *FLEET)
    lookout = Lookout(patience=PATIENCE)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            lookout.look()
        return len(captured)

    until(lambda: queries() == 1)  # every program has started
    assert Session.objects.live().count() == 5 * len(FLEET)
    assert not Session.objects.live().exclude(command="cat").exists()


def test_with_nobody_there_it_costs_one_query(stranger: Make, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        Lookout(patience=PATIENCE).look()


def test_of_the_fleets_names_both_are_shown(stranger: Make, tmux: Tmux) -> None:
    stranger("default", "pr_review1", "pr_review2")
    start.start_fleet(group="pr_review")
    looked()
    [group] = [one for one in groups_overview(fleet()) if one["key"] == "pr_review"]
    shown = [(one["name"], one["origin"]) for one in group["sessions"]]
    own = [("pr_review1", "gaia"), ("pr_review2", "gaia"), ("pr_review3", "gaia")]
    assert shown == [*own, ("pr_review1", "foreign"), ("pr_review2", "foreign")]
    assert (group["expected"], group["running"], group["foreign"], group["missing"]) == (3, 3, 2, [])
    assert control.find("pr_review1").origin == Origin.GAIA
    assert start.stop_fleet(group="pr_review") == ["pr_review1", "pr_review2", "pr_review3"]
    assert {(row.name, row.origin) for row in rows().values()} == {("pr_review1", "foreign"), ("pr_review2", "foreign")}
    assert start.start_fleet(only=["pr_review1"]).started == ["pr_review1"], "a stranger's name is not taken"


def test_a_stranger_of_the_fleet_that_goes_is_not_missed(stranger: Make) -> None:
    server = stranger("default", "dev1_worker", "notes")
    looked()
    server("kill-session", "-t", "=dev1_worker")
    looked()
    assert missing_overview(fleet()) == []
    [group] = [one for one in groups_overview(fleet()) if one["key"] == "dev_workers"]
    assert len(group["missing"]) == 5


def test_ends_renames_and_new_ones_are_followed(stranger: Make) -> None:
    server = stranger("default", "one", "two")
    first = looked()
    server("kill-session", "-t", "=one")
    server("rename-session", "-t", "=two", "pr_review2")
    server.new("one")
    found = looked()
    assert set(found) == {"one", "pr_review2"}
    assert found["pr_review2"].pk == first["two"].pk
    assert (found["pr_review2"].group, found["pr_review2"].provider) == ("pr_review", "claude")
    assert found["one"].pk != first["one"].pk, "a name that is used again is another session"
    gone = Session.objects.get(pk=first["one"].pk)
    assert (gone.state, gone.problem) == (SessionState.GONE, "tmux no longer has it")


def test_a_server_that_is_started_again_has_other_sessions(stranger: Make) -> None:
    server = stranger("default", "one")
    [before] = looked().values()
    server("kill-server")
    until(lambda: not server.socket.exists() or not listens(server.socket))
    server.new("one")
    [after] = looked().values()
    assert (after.tmux_session, after.tmux_pane) == (before.tmux_session, before.tmux_pane), "it counts anew"
    assert after.pk != before.pk
    before.refresh_from_db()
    assert (before.state, before.problem) == (SessionState.GONE, "its tmux server has ended")


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("my project", "my-project"),
        ("日本語", "session"),
        ("a'b\"c$(x)`y`", "a-b-c-x-y"),
        ("{50%} ~;|&*?", "50"),
        ("-dash", "dash"),
        ("tab\there", "tab-there"),
        ("x" * 120, "x" * 64),
        ("\u202eevil", "evil"),
    ],
)
def test_odd_names(stranger: Make, wanted: str, name: str) -> None:
    server = stranger("default")
    server.new(wanted)
    named = server("display-message", "-p", "-t", "$0", "#{session_name}")
    [row] = looked().values()
    assert (row.tmux_name or row.name) == named
    if "\t" not in wanted:
        assert row.name == name
    assert control.find(named).pk == row.pk
    until(lambda: control.capture(row) is not None)


def test_two_of_one_name_on_two_servers(stranger: Make) -> None:
    stranger("default").new("work", "/bin/sh", "-c", "echo first; exec cat")
    stranger("other").new("work", "/bin/sh", "-c", "echo second; exec cat")
    looked()
    with pytest.raises(Conflict, match="several tmux servers have a session work"):
        control.find("work")
    until(lambda: "first" in control.capture(control.find("work", socket="default")))
    whole = next(row.socket for row in Session.objects.live() if row.socket.endswith("other"))
    until(lambda: "second" in control.capture(control.find("work", socket=whole)))


def test_what_is_typed_by_nobody(stranger: Make, tmux: Tmux) -> None:
    server = stranger("default", "one")
    looked()
    row = control.find("one")
    verbs: list[Callable[[], Any]] = [
        lambda: control.send_keys(row, "x"),
        lambda: control.send_key(row, "Enter"),
        lambda: control.stop([row]),
        lambda: control.attach_argv(row),
    ]
    before = server.state()
    for verb in verbs:
        with pytest.raises(Conflict, match="session one is not GAIA's") as caught:
            verb()
        assert caught.value.fix == "Adopt it first: gaia session adopt one."
    assert server.state() == before
    assert control.stop_everything() == 0
    assert server("list-sessions", "-F", "#{session_name}") == "one"


def test_its_screen_can_be_read_but_not_who_has_its_pane_now(stranger: Make) -> None:
    server = stranger("default")
    server.new("one", "/bin/sh", "-c", "echo hello; exec cat")
    looked()
    row = control.find("one")
    until(lambda: "hello" in control.capture(row, lines=10))
    server("respawn-pane", "-k", "-t", "=one:", "echo secret; exec cat")
    with pytest.raises(Conflict, match="tmux does not have session one"):
        control.capture(row)


def test_only_a_shell_where_an_agent_should_be(stranger: Make, agents: Path) -> None:
    claude, codex = install(agents, "claude"), install(agents, "codex")
    server = stranger("default")
    server.new("pr_review1", "/bin/sh")
    server.new("pr_review2", "/bin/sh", "-c", f"{codex}; true")
    server.new("pr_review3", "/bin/sh", "-c", "read x; exec cat")
    server.new("my-claude", "/bin/sh", "-c", f"read x; {claude}; true")
    server.new("notes", "/bin/sh", str(codex))
    server.new("architect")
    clock = [0.0]
    lookout = Lookout(clock=lambda: clock[0], patience=PATIENCE)

    def told() -> dict[str, tuple[str, str, str]]:
        clock[0] += 5.0
        return {row.name: (row.provider, row.runs, row.reason) for row in looked(lookout).values()}

    expected = {
        "pr_review1": ("claude", Runs.SHELL, "claude should run here, but there is only a shell (sh)"),
        "pr_review2": ("claude", Runs.OTHER, "claude should run here, but codex does"),
        "pr_review3": ("ollama", Runs.SHELL, "ollama should run here, but there is only a shell (sh)"),
        "my-claude": ("claude", Runs.SHELL, "claude should run here, but there is only a shell (sh)"),
        "notes": ("codex", Runs.AGENT, ""),  # its name says nothing, its program does
        "architect": ("claude", Runs.OTHER, "claude should run here, but cat does"),
    }
    until(lambda: told() == expected)
    server("send-keys", "-t", "=my-claude:", "x", "Enter")
    server("send-keys", "-t", "=pr_review3:", "x", "Enter")
    expected["my-claude"] = ("claude", Runs.AGENT, "")
    expected["pr_review3"] = ("ollama", Runs.OTHER, "ollama should run here, but cat does")
    until(lambda: told() == expected)


def test_an_agent_that_gives_way_to_a_shell(tmux: Tmux, agents: Path) -> None:
    install(agents, "claude", "read -r line; exec /bin/sh")
    start.start_fleet(only=["architect"])
    until(lambda: ours_after_a_look() and control.find("architect").command == "sh")
    assert control.find("architect").runs == Runs.AGENT
    tmux("send-keys", "-t", "=architect:", "Enter")
    until(lambda: ours_after_a_look() and control.find("architect").runs == Runs.SHELL)
    assert control.find("architect").reason == "claude should run here, but there is only a shell (sh)"
    install(agents, "claude")
    tmux("send-keys", "-t", "=architect:", f"exec {agents}/claude", "Enter")
    until(lambda: "claude" in Path(f"/proc/{control.find('architect').pane_pid}/cmdline").read_text())
    tmux("respawn-pane", "-k", "-t", "=architect:", f"exec {agents}/claude")
    until(lambda: ours_after_a_look() and control.find("architect").runs == Runs.AGENT)
    assert control.find("architect").reason == ""
    kinds = Event.objects.filter(kind__startswith="session.agent").order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["session.agent_missing", "session.agent_back"]


def test_no_session_is_seen_twice_by_two_that_look_at_once(stranger: Make) -> None:
    stranger("default", "one")
    first, second = others._Comparison(*_eyes()), others._Comparison(*_eyes())
    path = next(iter(_sockets()))
    answer = others._ask(path, patience=PATIENCE)
    for comparison in (first, second):
        comparison.compare(path, [], answer)
    first.write()
    second.write()
    assert Session.objects.count() == 1
    assert Event.objects.filter(kind="session.seen").count() == 1


def _eyes() -> tuple[Any, Any]:
    from sessions.actions.seen import Eye
    from sessions.configured import shown_providers

    return Eye(fleet(), shown_providers()), frozenset[str]()


def _sockets() -> list[Path]:
    from sessions.configured import socket_directories
    from sessions.drivers.tmux_sockets import find_sockets

    return find_sockets(socket_directories())


def test_a_bad_pattern_of_the_operators_is_told_and_nothing_stops(stranger: Make, home: Any) -> None:
    from django.core import checks

    directory = home.root / "providers"
    directory.mkdir()
    (directory / "mine.yaml").write_text("version: 1\nname: mine\nlabel: Mine\nname_patterns: ['notes', '(']\n")
    stranger("default", "notes", "my-claude")
    found = looked()
    assert (found["notes"].provider, found["my-claude"].provider) == ("system", "claude")
    [warning] = [one for one in checks.run_checks() if one.id == "gaia.W002"]
    assert "mine.yaml:4" in warning.msg
    assert "is not a regular expression" in warning.msg
    (directory / "mine.yaml").write_text("version: 1\nname: mine\nlabel: Mine\nname_patterns: ['notes']\n")
    assert looked()["notes"].provider == "mine"


def test_patterns_of_the_operators_fleet(stranger: Make, home: Any) -> None:
    stranger("default", "notes", "nightly-7", "pr_review1")
    assert looked()["nightly-7"].group == "other"
    groups = (
        "{key: night, label: Night, short: NGT, patterns: ['nightly-\\d+']}, {key: other, label: Other, short: OTH}"
    )
    (home.root / "fleet.yaml").write_text(f"version: 1\ngroups: [{groups}]\nsessions: []\n")
    assert {name: row.group for name, row in looked().items()} == {
        "notes": "other",
        "nightly-7": "night",
        "pr_review1": "other",
    }


def test_without_tmux_nothing_is_concluded(stranger: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stranger("default", "one")
    looked()
    monkeypatch.setenv("PATH", str(tmp_path))
    [row] = looked().values()
    assert row.state == SessionState.RUNNING


def test_a_session_of_several_panes_is_one(stranger: Make) -> None:
    server = stranger("default", "one")
    server("split-window", "-t", "=one:", "/bin/cat")
    server("new-window", "-t", "=one:", "/bin/cat")
    [row] = looked().values()
    assert (row.panes, row.tmux_pane) == (3, "%0")
    server("kill-pane", "-t", "%0")
    [after] = looked().values()
    assert (after.pk, after.panes, after.tmux_pane) == (row.pk, 2, "%1")


def test_two_that_share_their_windows_are_two(stranger: Make) -> None:
    server = stranger("default", "one")
    server("new-session", "-d", "-t", "=one", "-s", "beside")
    assert set(looked()) == {"one", "beside"}

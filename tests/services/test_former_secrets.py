"""The value that a secret had before is masked wherever a log still has it, and forgotten when none does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from processes.actions.logs import shown, trim
from processes.actions.processes import record_exit
from processes.models import Process
from services import logs
from services.actions import former_secrets
from services.actions.deaths import last_lines
from services.actions.definitions import redefine, unregister
from services.actions.registry import definition_of
from services.actions.running import start, stop
from services.models import FormerSecret, Service
from services.overview import service_overview
from services.spec import parse_spec
from tests.services.house import House, fresh, process_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("leave_nothing")]

Register = Callable[..., Service]
OLD, NEW = "swordfish", "haddock-2"


def rotated(service: Service, **secrets: Any) -> Service:
    return redefine(service, parse_spec({**definition_of(service), "secrets": secrets}))


@pytest.fixture
def talker(registered: Register, tmp_path: Path) -> tuple[Service, Path]:
    """A service that was started with a secret and has said it; it does not run."""
    service = start(registered(secrets={"TOKEN": OLD}))
    log = tmp_path / "talker.log"
    log.write_text(f"began with {OLD}\n")
    Process.objects.filter(owner=service.owner).update(log=str(log))
    return fresh(service), log


def text_of(service: Service) -> str:
    return str(logs.read_end(service, 100)["text"])


def test_the_old_value_stays_masked(talker: tuple[Service, Path]) -> None:
    service, log = talker
    changed = rotated(service, TOKEN=NEW)
    with log.open("a") as file:
        file.write(f"{NEW} it is now\nand half of {OLD}")
    assert text_of(changed) == "began with ***\n*** it is now\n"
    assert logs.read_end(changed, 100)["unfinished"] == "and half of ***"
    assert shown(service.owner, log.read_text()) == "began with ***\n*** it is now\nand half of ***"
    assert OLD not in str(service_overview(changed)) + str(definition_of(changed))


def test_of_one_that_runs_the_old_value_is_in_no_death_and_no_answer(talker: tuple[Service, Path]) -> None:
    service, _ = talker
    changed = rotated(service, TOKEN=NEW)
    assert set(changed.secret_values) == {OLD, NEW}, "what it was started with is what it may say"
    assert last_lines(changed, process_of(changed)) == ["began with ***"]


@pytest.mark.parametrize("lost", [{}, {"OTHER": NEW}])
def test_a_secret_that_is_left_out_stays_masked(talker: tuple[Service, Path], lost: dict[str, str]) -> None:
    assert text_of(rotated(talker[0], **lost)) == "began with ***\n"


def test_of_a_service_that_is_unregistered_too(registered: Register, house: House) -> None:
    service = registered(script="echo $TOKEN; exec sleep 600", secrets={"TOKEN": OLD}, start=True)
    house.tick()
    unregister(fresh(service))
    assert not Service.objects.exists()
    assert shown(service.owner, f"{OLD}\n") == "***\n"


def test_what_no_start_ever_had_is_not_kept(registered: Register) -> None:
    rotated(registered(secrets={"TOKEN": OLD}), TOKEN=NEW)
    assert not FormerSecret.objects.exists()


def test_it_is_forgotten_when_no_log_has_it_any_more(talker: tuple[Service, Path]) -> None:
    service, log = talker
    rotated(service, TOKEN=NEW)
    assert former_secrets.forget_gone() == 0, "who was started with it may say it at any time"
    stop(fresh(service))
    record_exit(process_of(service), 0, "wait")
    assert former_secrets.forget_gone() == 0, "its log has it"
    with log.open("a") as file:
        file.write(("y" * 99 + "\n") * 2000)
    assert former_secrets.forget_gone() == 0
    trim(log, datetime.now(UTC), limit=100_000, archives=1)
    assert OLD not in log.read_text()
    assert former_secrets.forget_gone() == 1
    assert not FormerSecret.objects.exists()


def test_a_value_that_came_back_and_went_again_is_kept_as_long(talker: tuple[Service, Path]) -> None:
    service, _ = talker
    for value in (NEW, OLD, NEW):
        rotated(fresh(service), TOKEN=value)
    assert sorted(former_secrets.of(service.owner)) == [NEW, OLD]
    assert text_of(fresh(service)) == "began with ***\n"


def test_a_log_that_is_gone_holds_nothing(talker: tuple[Service, Path]) -> None:
    service, log = talker
    rotated(service, TOKEN=NEW)
    record_exit(process_of(service), 0, "wait")
    log.unlink()
    assert former_secrets.forget_gone() == 1

"""States: moved along their table only, by compare-and-swap, the event in the same transaction."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import models
from django.db.models import QuerySet
from django.utils import timezone

from events import log
from events.actor import NoActor
from events.models import Event, Stateful
from processes.models import Operation
from processes.states import OPERATION_TRANSITIONS, OperationState


def operation(state: str = OperationState.QUEUED) -> Operation:
    return Operation.objects.create(kind="test.any", title="Something", subject="test/one", actor="x", state=state)


def change(row: Operation, after: str, **wanted: object) -> bool:
    return log.change(row, after, kind=f"test.{after}", message=f"it is {after}", about="test", **wanted)  # type: ignore[arg-type]


def stored(row: Operation) -> QuerySet[Operation]:
    return Operation.objects.filter(pk=row.pk)


@pytest.mark.django_db
@pytest.mark.parametrize("before", OperationState.values)
@pytest.mark.parametrize("after", OperationState.values)
def test_a_state_is_left_along_the_table_only(acting: str, before: str, after: str) -> None:
    row = operation(before)
    wanted = after in OPERATION_TRANSITIONS.get(before, ())

    assert change(row, after, fields={"message": "new"}) == wanted

    expected = (after, "new") if wanted else (before, "")
    assert (row.state, row.message) == stored(row).values_list("state", "message").get() == expected
    told = Event.objects.values_list("kind", "subject", "message", "data")
    assert list(told) == ([(f"test.{after}", row.key, f"it is {after}", {"about": "test"})] if wanted else [])


@pytest.mark.django_db
def test_of_two_who_saw_the_same_state_the_second_changes_nothing(acting: str) -> None:
    first = operation(OperationState.RUNNING)
    second = stored(first).get()

    assert change(first, OperationState.SUCCEEDED)
    assert not change(second, OperationState.FAILED, fields={"message": "late"})

    assert (second.state, second.message) == (OperationState.RUNNING, "")
    assert list(Event.objects.values_list("kind", flat=True)) == ["test.succeeded"]


@pytest.mark.django_db
def test_it_can_be_asked_for_from_fewer_states(acting: str) -> None:
    row = operation(OperationState.RUNNING)

    assert not change(row, OperationState.CANCELLED, before=[OperationState.QUEUED])
    assert not change(row, OperationState.CANCELLED, before=[])
    assert change(row, OperationState.CANCELLED, before=[OperationState.RUNNING])


@pytest.mark.django_db
def test_it_cannot_be_asked_for_from_more_states_than_the_table_has(acting: str) -> None:
    row = operation(OperationState.SUCCEEDED)

    with pytest.raises(ValueError, match=f"{row.key}: running, succeeded → failed"):
        change(row, OperationState.FAILED, before=[OperationState.RUNNING, OperationState.SUCCEEDED])

    assert stored(row).get().state == OperationState.SUCCEEDED


@pytest.mark.django_db
def test_it_can_depend_on_what_else_is_stored(acting: str) -> None:
    row = operation()
    stored(row).update(message="somebody was here")

    assert not change(row, OperationState.RUNNING, only={"message": ""})
    assert change(row, OperationState.RUNNING, only={"message": "somebody was here"})


@pytest.mark.django_db(transaction=True)
def test_without_an_actor_the_state_stays() -> None:
    row = operation()

    with pytest.raises(NoActor):
        change(row, OperationState.RUNNING)

    assert row.state == stored(row).get().state == OperationState.QUEUED


MODELS = [model for model in apps.get_models() if issubclass(model, Stateful)]


def test_every_model_whose_state_is_stored_has_a_table() -> None:
    with_state = {model for model in apps.get_models() if any(each.name == "state" for each in model._meta.fields)}
    assert with_state == set(MODELS)
    assert len(MODELS) == 8


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_tables_lead_from_the_first_state_to_every_other(model: type[Stateful]) -> None:
    field = model._meta.get_field("state")
    assert isinstance(field, models.Field)
    reached, new = set[str](), {field.default}
    while new:
        reached |= new
        new = {after for state in new for after in model.TRANSITIONS.get(state, ())} - reached
    assert reached == {value for value, _ in field.choices or ()}


@pytest.mark.django_db
def test_what_is_written_and_compared_may_be_anything(acting: str) -> None:
    """Numbers, times, JSON, nothing at all, a list to choose from, an expression."""
    row = operation(OperationState.QUEUED)
    now = timezone.now()
    told = {"params": {"a": ["ü", None, 1.5]}, "done": 3, "started_at": now, "error": None}
    only = {"error": None, "kind__in": ["test.any", "other"], "done": 0}

    assert not change(row, OperationState.RUNNING, only={**only, "kind__in": []})
    assert not change(row, OperationState.RUNNING, only={**only, "started_at": now})
    assert change(row, OperationState.RUNNING, only=only, fields=told)
    assert stored(row).values(*told).get() == told

    assert change(row, OperationState.FAILED, only={"started_at": now}, fields={"done": models.F("done") + 1})
    assert stored(row).get().done == 4

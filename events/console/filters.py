"""Filters of lists that offer what is there and begin with what matters now."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest


class StateFilter(SimpleListFilter):
    """By state; the first choice, in force when none is made, is what `now` selects (such as: those that live).

    groups: value and title of more choices than the single states, after the first.
    """

    title = "state"
    parameter_name = "state"
    now: str = "now"
    now_title: str = "now"
    choices_of_state: tuple[tuple[str, str], ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*self.choices_of_state, ("all", "all")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        yield {
            "selected": self.value() is None,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": self.now_title,
        }
        for value, title in self.lookup_choices:
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return self.of_now(queryset)
        return queryset if self.value() == "all" else queryset.filter(state=self.value())

    def of_now(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of the first choice."""
        return queryset


class NeedsFilter(SimpleListFilter, ABC):
    """`?needs=you`: only what waits for a person."""

    title = "needs you"
    parameter_name = "needs"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("you", "only these")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return self.of_those(queryset) if self.value() == "you" else queryset

    @abstractmethod
    def of_those(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those that need somebody."""


class ValuesFilter(SimpleListFilter):
    """By a column, offering the values that rows of it have, in the words of `titles`."""

    def titles(self) -> dict[str, str]:
        """Title by value; values without one are shown as they are."""
        return {}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        titles = self.titles()
        found = model_admin.model.objects.order_by(self.parameter_name).values_list(self.parameter_name, flat=True)
        values = set(found.distinct())
        known = [value for value in titles if value in values]
        return [(value, titles.get(value, value)) for value in [*known, *sorted(values - set(known))] if value]

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset

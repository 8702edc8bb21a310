"""What a client of a stream asks for."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import QueryDict

from common.errors import InvalidInput

_LONGEST_ID = 100  # digits; Python refuses to read thousands of them


@dataclass(frozen=True)
class Subscription:
    """`?after=ID&kind=PREFIX&subject=PREFIX`; kind and subject may be repeated."""

    after: int | None
    kinds: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    @classmethod
    def parse(cls, query: QueryDict, last_event_id: str = "") -> Subscription:
        """Read a query string.

        Args:
            last_event_id: the header an EventSource sends when it comes back; it wins over `after`, which is
                still the one of its first request.

        Raises: InvalidInput when the id is not a number, or a prefix is not text.
        """
        text = last_event_id.strip() or query.get("after", "").strip()
        if text and not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID):
            raise InvalidInput(f"after is {text!r}", fix="Give the id of the last event you have, or leave it out.")
        return cls(int(text) if text else None, _prefixes(query, "kind"), _prefixes(query, "subject"))


def _prefixes(query: QueryDict, name: str) -> tuple[str, ...]:
    values = query.getlist(name)
    if any("\0" in value for value in values):
        raise InvalidInput(f"{name} contains a null character", fix="Give the beginning of a kind or subject.")
    return tuple(filter(None, (value.removesuffix("*") for value in values)))

"""What becomes of telling somebody."""

from __future__ import annotations

from common.errors import Unavailable


class NotDelivered(Unavailable):
    """The other side did not take it. gone: it says that there is nothing at this address."""

    code = "not_delivered"

    def __init__(self, what: str, *, gone: bool = False) -> None:
        super().__init__(what)
        self.gone = gone

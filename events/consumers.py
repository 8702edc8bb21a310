"""The log as a WebSocket: `/ws/events/?after=ID&kind=PREFIX&subject=PREFIX`.

Messages to the client, as JSON text:
    {"type": "hello", "after": N}      first; the id from which the stream goes on
    {"type": "reset", "after": N}      the client's `after` belongs to another database: fetch everything anew
    {"type": "events", "events": [..]} in the order they happened
    {"type": "ping"}                   after 15 s of silence; a client may answer {"type": "pong"}

Close codes: 4401 not signed in, 4403 not allowed (any more), 4400 the query is not valid, 1009 the client sent too
much, 1013 the database does not answer. A client that comes back with the id of its last event misses nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError
from django.http import QueryDict

from common.errors import InvalidInput
from events.admission import TRY_AGAIN, Admission, Credentials, Refused
from events.subscription import Subscription
from events.tail import Batch, follow

BAD_QUERY, TOO_BIG, DEFECT = 4400, 1009, 1011
MAX_MESSAGE = 4_096  # characters or bytes a client may send at once: it has nothing to say
PROTOCOL = "gaia"

logger = logging.getLogger(__name__)


class EventsConsumer(AsyncWebsocketConsumer):
    """One client of the live log."""

    _streaming: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        # accepted before it is judged: a browser is only told the code of a socket that was open
        await self.accept(PROTOCOL if PROTOCOL in self.scope["subprotocols"] else None)
        self._streaming = asyncio.create_task(self._stream())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Nothing is expected of clients but not to flood the server."""
        if len(text_data or bytes_data or "") > MAX_MESSAGE:
            await self.disconnect(TOO_BIG)
            await self.close(TOO_BIG, "message too big")

    async def disconnect(self, code: int) -> None:
        if self._streaming is not None:
            self._streaming.cancel()
            await asyncio.wait([self._streaming])

    async def _stream(self) -> None:
        try:
            wanted = Subscription.parse(QueryDict(self.scope["query_string"]))
            admission = Admission(Credentials.of_socket(self.scope))
            await admission.enter()
            await self._send_events(wanted, admission)
        except InvalidInput as error:
            await self.close(BAD_QUERY, f"{error.what}. {error.fix}"[:120])
        except Refused as error:
            await self.close(error.close_code, str(error)[:120])
        except DatabaseError:
            logger.warning("a socket was closed because the database does not answer", exc_info=True)
            await self.close(TRY_AGAIN, "the database does not answer")
        except OSError:
            pass  # the client went away while something was being sent
        except Exception:
            logger.exception("a socket of the event log failed")
            await self.close(DEFECT)

    async def _send_events(self, wanted: Subscription, admission: Admission) -> None:
        batches = follow(wanted.after, kinds=wanted.kinds, subjects=wanted.subjects)
        greeted = False
        async with aclosing(batches):
            async for batch in batches:
                await admission.renew()
                if not greeted:
                    await self._say({"type": "hello", "after": batch.after})
                    greeted = True
                    if not batch.reset:
                        continue
                await self._say(_message(batch))

    async def _say(self, message: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(message, separators=(",", ":")))


def _message(batch: Batch) -> dict[str, Any]:
    if batch.reset:
        return {"type": "reset", "after": batch.after}
    return {"type": "events", "events": list(batch)} if batch else {"type": "ping"}

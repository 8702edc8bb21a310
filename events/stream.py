"""The log as server-sent events: `GET /api/events/stream?after=ID&kind=PREFIX&subject=PREFIX`.

For programs; browsers use the WebSocket, because over HTTP/1.1 they open at most six connections to a host.
A client that comes back with `Last-Event-ID` (or `after`) misses nothing and gets nothing twice. The stream begins
with a bare `id:` line, so that a client that lost the connection before the first event also knows where it was.
`event: reset` says that the id belonged to another database: fetch everything anew, the stream goes on from now.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET

from events.admission import Admission, Credentials, Refused
from events.subscription import Subscription
from events.tail import Batch, follow

_RETRY_MS = 1_000
_PROBLEM = "application/problem+json"
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

logger = logging.getLogger(__name__)


@csrf_exempt  # nothing but GET: whoever posts is told so
@require_GET
async def stream(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """The live log, for an operator's session or a token that may read."""
    wanted = Subscription.parse(request.GET, request.headers.get("Last-Event-ID", ""))
    admission = Admission(Credentials.of_request(request))
    try:
        await admission.enter()
    except Refused as error:
        return JsonResponse(error.body, status=error.status, content_type=_PROBLEM, headers=error.headers)
    return StreamingHttpResponse(_frames(wanted, admission), content_type="text/event-stream", headers=_HEADERS)


async def _frames(wanted: Subscription, admission: Admission) -> AsyncIterator[str]:
    batches = follow(wanted.after, kinds=wanted.kinds, subjects=wanted.subjects)
    greeted = False
    try:
        async with aclosing(batches):
            async for batch in batches:
                await admission.renew()
                yield _text(batch) if greeted else _greeting(batch)
                greeted = True
    except Refused:
        return  # coming back, the client is told why
    except DatabaseError:
        logger.warning("a stream ended because the database does not answer", exc_info=True)


def _greeting(batch: Batch) -> str:
    reset = f"event: reset\ndata: {json.dumps({'after': batch.after})}\n" if batch.reset else ""
    return f"retry: {_RETRY_MS}\nid: {batch.after}\n{reset}\n"


def _text(batch: Batch) -> str:
    if not batch:
        return ": ping\n\n"
    return "".join(
        f"id: {event['id']}\nevent: {event['kind']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n"
        for event in batch
    )

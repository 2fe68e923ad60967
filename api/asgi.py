"""The ASGI application: plain async functions answer the wire endpoints, Django everything else in its own threads."""

import gc
import resource
import sys
from http import HTTPStatus
from typing import Final

import structlog
from django.conf import settings

from api.runtime.start import one_line

with one_line():
    import django

    django.setup()

# These imports need Django to be set up.
from api import urls
from api.http import django_requests, health, static_files
from api.http.bodies import Receive
from api.http.cross_origin import allow_any_origin, answer_preflight
from api.http.database import DatabaseDownError, SessionKind, refuse_other_key, set_django_session_kind
from api.http.endpoint import (
    Endpoint,
    Request,
    Response,
    Scope,
    Send,
    database_unavailable,
    internal_error,
    respond,
)
from api.http.stopping import call_at_stop
from api.ingest import pixel, sdk_events, segmentio, tracking
from api.pages import live
from api.remote_data import configuration, map_reads, map_writes, ofrep, stream, token, visitor_reads

log = structlog.get_logger(__name__)

EVENTS = Endpoint({"POST": segmentio.receive_events})
ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/segmentio": EVENTS,
    "/segmentio/": EVENTS,
    "/segmentio/getapikey": Endpoint({"GET": segmentio.give_api_key}, is_open=False),
    "/map/map": Endpoint({"GET": map_reads.get_map}, refuse=map_reads.refuse_quietly),
    "/map/maps": Endpoint({"GET": map_reads.get_maps, "POST": map_writes.post_maps}, refuse=map_reads.refuse_quietly),
    "/visit/events": Endpoint({"POST": sdk_events.receive_lines}),
    "/visit/visitor": Endpoint({"GET": visitor_reads.get_visitor}, refuse=map_reads.refuse_quietly),
    stream.PATH: Endpoint({"GET": stream.open_stream}),
    "/oauth/token": Endpoint({"POST": token.give_token}, is_open=False),
    "/health/live": Endpoint({"GET": health.answer_live}, is_open=False),
    "/health/ready": Endpoint({"GET": health.answer_ready}, is_open=False),
    **tracking.ENDPOINTS,
    **pixel.ENDPOINTS,
}
# Django answers the paths that need a sign-in. All other paths are for senders and readers, from pages of any origin.
STATIC: Final = settings.STATIC_URL
FOR_DJANGO: Final = frozenset(str(url.pattern).partition("/")[0] for url in urls.urlpatterns) - {""}
MOST_FILES: Final = 65_536
NOTHING_HERE: Final = Endpoint({})
NO_FILE: Final = Endpoint({}, is_open=False)

set_django_session_kind(SessionKind.WEB)
refuse_other_key()
# The event loop takes the interpreter from threads that render pages, each time after this interval. The default of
# 5 ms would be the time of several events.
sys.setswitchinterval(0.0005)
# Each connection takes a file, and the usual limit is 1,024.
soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
if 0 < soft_limit < MOST_FILES:
    enough = min(MOST_FILES, hard_limit) if hard_limit > 0 else MOST_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard_limit))
gc.freeze()  # loaded modules stay, so that collections skip them and are short


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request. A server error is 503 with Retry-After, never a 4xx that makes a sender drop its event."""
    if scope["type"] != "http":
        await serve_lifespan(receive, send)
        return
    path: str = scope["path"]
    # Senders write a type in any case, also in a path (`/v1/Track`).
    endpoint = ENDPOINTS.get(path) or ENDPOINTS.get(path.lower()) or find_endpoint(path)
    if endpoint is None:
        if path == "/" or path.removeprefix("/").partition("/")[0] in FOR_DJANGO:
            await django_requests.answer(scope, receive, send)
            return
        is_static = path.startswith(STATIC)
        if is_static and await static_files.answer(scope, send):
            return
        endpoint = NO_FILE if is_static else NOTHING_HERE
    request = Request(scope, receive)
    if endpoint.is_open and request.method == "OPTIONS":
        await respond(allow_any_origin(answer_preflight(request)), send)
        return
    answer = await serve(endpoint, request)
    if isinstance(answer, stream.StreamResponse):
        await stream.run(answer, allow_any_origin(answer), receive, send)
        return
    await respond(allow_any_origin(answer) if endpoint.is_open else answer, send)


def find_endpoint(path: str) -> Endpoint | None:
    """Return the endpoint of a path that names a write key or a site."""
    return tracking.find_endpoint(path) or configuration.find_endpoint(path) or ofrep.find_endpoint(path)


async def serve(endpoint: Endpoint, request: Request) -> Response:
    """Return the response to a request, also if it is refused or fails."""
    try:
        answer = await endpoint.serve(request)
    except DatabaseDownError:
        answer = endpoint.refuse(database_unavailable())
    except Exception:
        log.exception("request.failed", path=request.path)
        answer = endpoint.refuse(internal_error())
    finally:
        request.let_go()
    if answer.status >= HTTPStatus.BAD_REQUEST:
        await request.drain()
    return answer


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Tell the server that nothing has to be started or stopped. At a signal to stop, end the streams."""
    call_at_stop(end_streams)
    while (event := (await receive())["type"]) != "lifespan.shutdown":
        await send({"type": f"{event}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def end_streams() -> None:
    """End all streams of this process, because the server waits for them. Their clients open new ones."""
    stream.streams().end()
    live.streams().end()

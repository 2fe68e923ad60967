"""The WSGI application: plain functions answer the wire endpoints, Django everything else."""

import gc
import sys
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from api.runtime.start import one_line

with one_line():
    django_application = get_wsgi_application()

# These imports need Django to be set up.
from api import urls
from api.http import django_requests, health, static_files
from api.http.concurrency import LimitReachedError
from api.http.cross_origin import allow_any_origin, answer_preflight
from api.http.database import DatabaseDownError, SessionKind, refuse_other_key, set_django_session_kind
from api.http.django_requests import too_busy
from api.http.endpoint import Endpoint, Request, Response, database_unavailable, error_response, internal_error
from api.ingest import pixel, segmentio, tracking
from api.remote_data import map_reads, token

log = structlog.get_logger(__name__)

EVENTS = Endpoint({"POST": segmentio.receive_events})
ENDPOINTS: dict[str, Endpoint] = {
    "/segmentio": EVENTS,
    "/segmentio/": EVENTS,
    "/segmentio/getapikey": Endpoint({"GET": segmentio.give_api_key}, is_open=False),
    "/map/map": Endpoint({"GET": map_reads.get_map}, refuse=map_reads.refuse_quietly),
    "/map/maps": Endpoint({"GET": map_reads.get_maps}, refuse=map_reads.refuse_quietly),
    "/oauth/token": Endpoint({"POST": token.give_token}, is_open=False),
    "/health/live": Endpoint({"GET": health.answer_live}, is_open=False),
    "/health/ready": Endpoint({"GET": health.answer_ready}, is_open=False),
    **tracking.ENDPOINTS,
    **pixel.ENDPOINTS,
}
# Django answers the paths that need a sign-in. All other paths are for senders and readers, from pages of any origin.
STATIC = settings.STATIC_URL
FOR_DJANGO = frozenset({STATIC.strip("/"), *(str(url.pattern).partition("/")[0] for url in urls.urlpatterns)}) - {""}
NOTHING_HERE = Endpoint({})
STATUS_LINES = {int(status): f"{status:d} {status.phrase}" for status in HTTPStatus}
WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

set_django_session_kind(SessionKind.WEB)
refuse_other_key()
# An event takes the interpreter lock about six times from threads that render pages, each time after this interval.
# Beside one page at a time, the p50 of events grew 2.7 times with the default of 5 ms; with this, twice beside two.
sys.setswitchinterval(0.0005)
gc.freeze()  # loaded modules stay, so that collections skip them and are short


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request. A server error is 503 with Retry-After, never a 4xx that makes a sender drop its event."""
    path = environ["PATH_INFO"]
    # Senders write a type in any case, also in a path (`/v1/Track`).
    endpoint = ENDPOINTS.get(path) or ENDPOINTS.get(path.lower()) or tracking.find_endpoint(path)
    if endpoint is None:
        if path.startswith(STATIC):
            return send_static_file(environ, start_response)
        if path == "/" or path.removeprefix("/").partition("/")[0] in FOR_DJANGO:
            return django_requests.answer(environ, start_response, application=django_application, respond=respond)
        endpoint = NOTHING_HERE
    request = Request(environ)
    if endpoint.is_open and request.method == "OPTIONS":
        return respond(allow_any_origin(answer_preflight(request)), start_response)
    try:
        answer = endpoint.serve(request)
    except DatabaseDownError:
        answer = endpoint.refuse(database_unavailable())
    except Exception:
        log.exception("request.failed", path=environ["PATH_INFO"])
        answer = endpoint.refuse(internal_error())
    if answer.status >= HTTPStatus.BAD_REQUEST:
        request.drain()
    return respond(allow_any_origin(answer) if endpoint.is_open else answer, start_response)


def send_static_file(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    try:
        sent = static_files.answer(environ, start_response)
    except LimitReachedError:
        return respond(error_response(too_busy()), start_response)
    return respond(NOTHING_HERE.serve(Request(environ)), start_response) if sent is None else sent


def respond(answer: Response, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Hand a response to the server."""
    headers = [("Content-Type", answer.content_type), ("X-Content-Type-Options", "nosniff"), *answer.headers]
    if answer.status not in WITHOUT_BODY:
        headers.append(("Content-Length", str(len(answer.body))))
    start_response(STATUS_LINES[answer.status], headers)
    return [answer.body]

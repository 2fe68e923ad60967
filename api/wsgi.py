"""The WSGI application: the wire endpoints answered by plain functions, everything else by Django."""

import gc
import os
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import structlog
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api.settings")
django_application = get_wsgi_application()

# Only now, with Django set up, may the rest be imported.
from api import health  # noqa: E402
from api.database import DatabaseDownError  # noqa: E402
from api.door import Answer, Endpoint, Request, defect, unavailable  # noqa: E402
from api.ingest import segmentio, tracking  # noqa: E402
from api.lookup import remote_data, token  # noqa: E402

log = structlog.get_logger(__name__)

EVENTS = Endpoint({"POST": segmentio.receive_events})
ENDPOINTS: dict[str, Endpoint] = {
    "/segmentio": EVENTS,
    "/segmentio/": EVENTS,
    "/segmentio/getapikey": Endpoint({"GET": segmentio.give_api_key}),
    "/map/map": Endpoint(
        {"GET": remote_data.get_map, "OPTIONS": remote_data.answer_preflight},
        headers=remote_data.CORS,
        refuse=remote_data.refuse_quietly,
    ),
    "/map/maps": Endpoint(
        {"GET": remote_data.get_maps, "OPTIONS": remote_data.answer_preflight},
        headers=remote_data.CORS,
        refuse=remote_data.refuse_quietly,
    ),
    "/oauth/token": Endpoint({"POST": token.give_token}),
    "/health/live": Endpoint({"GET": health.answer_live}),
    "/health/ready": Endpoint({"GET": health.answer_ready}),
    **tracking.ENDPOINTS,
}
STATUS_LINES = {int(status): f"{status:d} {status.phrase}" for status in HTTPStatus}
WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

gc.freeze()  # what is loaded by now stays: no collection need look at it, and none is long


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request. Trouble of ours is 503 with Retry-After, never a 4xx that makes a sender drop its event."""
    endpoint = ENDPOINTS.get(environ["PATH_INFO"]) or tracking.find_endpoint(environ["PATH_INFO"])
    if endpoint is None:
        return django_application(environ, start_response)
    request = Request(environ)
    try:
        answer = endpoint.serve(request)
    except DatabaseDownError:
        answer = endpoint.serve_refusal(unavailable())
    except Exception:
        log.exception("request.failed", path=environ["PATH_INFO"])
        answer = endpoint.serve_refusal(defect())
    if answer.status >= HTTPStatus.BAD_REQUEST:
        request.drain()
    return respond(answer, start_response)


def respond(answer: Answer, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Hand an answer to the server."""
    headers = [("Content-Type", answer.content_type), ("X-Content-Type-Options", "nosniff"), *answer.headers]
    if answer.status not in WITHOUT_BODY:
        headers.append(("Content-Length", str(len(answer.body))))
    start_response(STATUS_LINES[answer.status], headers)
    return [answer.body]

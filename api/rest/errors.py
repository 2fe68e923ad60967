"""Error answers of Django: the one body of the API, and pages for the admin."""

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import DisallowedHost, PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults
from psycopg.errors import ReadOnlySqlTransaction
from rest_framework import exceptions

from api.events.refusal import Refusal
from api.http import error_pages
from api.http.database import DatabaseDownError, is_lock_timeout
from api.http.endpoint import JSON, database_unavailable, error_response

ADMIN: Final = "/admin/"
DATABASE_ERRORS: Final = (DatabaseDownError, OperationalError, InterfaceError)
LONGEST_MESSAGE: Final = 1_000  # a message may quote what was sent

NOT_FOUND: Final = Refusal(
    HTTPStatus.NOT_FOUND,
    "not_found",
    "Nothing is at this address, or your credential does not open it. /api/docs lists what there is.",
)
INTERNAL_ERROR: Final = Refusal(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "The server failed unexpectedly; its log has the details."
)
UNREADABLE: Final = Refusal(
    HTTPStatus.BAD_REQUEST,
    "bad_request",
    "The request cannot be read, or its Host header names no host of this server (GOALPOST_ALLOWED_HOSTS).",
)
PAGE_UNAVAILABLE: Final = (
    "The database cannot be reached or is too slow at the moment. A form that you sent may not be saved: check before "
    "you send it again."
)
HELD: Final = (
    "Another database session has locked these rows. Nothing was changed. Try again in a moment; if this continues, "
    "`manage.py doctor` names the session."
)
FORBIDDEN: Final = Refusal(HTTPStatus.FORBIDDEN, "forbidden", "You are not allowed to do this.")


def respond(refusal: Refusal) -> HttpResponse:
    """Return a refusal as Django's response."""
    # A quoted lone surrogate has no bytes.
    message = refusal.message[:LONGEST_MESSAGE].encode(errors="replace").decode()
    answer = error_response(Refusal(refusal.status, refusal.code, message, refusal.headers))
    return HttpResponse(answer.body, status=answer.status, content_type=JSON, headers=dict(answer.headers))


def answer_exception(exception: Exception, _context: Mapping[str, Any]) -> HttpResponse | None:
    """Answer an exception in a view of Django REST framework. After None, `answer_server_error` answers."""
    refusal = refusal_for(exception)
    return None if refusal is None else respond(refusal)


def refusal_for(exception: Exception) -> Refusal | None:  # noqa: PLR0911 - a table
    """Return the refusal that an exception in a view means, None for an unexpected one."""
    if is_of_database(exception):
        return replace(database_unavailable(), message=HELD) if is_lock_timeout(exception) else database_unavailable()
    match exception:
        case Refusal():
            return exception
        case exceptions.ValidationError():
            return Refusal(exception.status_code, "invalid_request", "; ".join(sentences(exception.detail)))
        case exceptions.Throttled():
            return throttled(float(getattr(exception, "wait", None) or 1))
        case exceptions.NotFound() | Http404():
            return NOT_FOUND
        case exceptions.PermissionDenied() | PermissionDenied():
            return FORBIDDEN
        case exceptions.MethodNotAllowed():  # the Allow header is on every answer of the framework
            return Refusal(exception.status_code, "method_not_allowed", str(exception.detail))
        case exceptions.UnsupportedMediaType():
            message = "The body must be JSON, with the header `Content-Type: application/json`."
            return Refusal(exception.status_code, "unsupported_media_type", message)
        case exceptions.NotAcceptable():
            return Refusal(exception.status_code, "not_acceptable", "Answers are JSON: send `Accept: */*`, or none.")
    return None


def throttled(wait: float) -> Refusal:
    """Return 429 with `Retry-After`."""
    seconds = max(1, math.ceil(wait))
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "throttled",
        f"Too many requests with this credential. Try again in {seconds} s.",
        (("Retry-After", str(seconds)),),
    )


def sentences(detail: Any, field: str = "") -> list[str]:
    """Return a serializer's messages, each after the name of its field, as in `tags.0: Too long`."""
    if isinstance(detail, Mapping):
        return [
            sentence
            for name, below in detail.items()
            for sentence in sentences(below, ".".join(part for part in (field, place(name)) if part))
        ]
    if isinstance(detail, list):
        return [sentence for below in detail for sentence in sentences(below, field)]
    return [f"{field}: {detail}" if field else str(detail)]


def place(name: Any) -> str:
    """Return a field's name, an empty text for a message about all fields."""
    return "" if name == "non_field_errors" else str(name)


# Django's handlers (api.urls): unknown paths, and errors outside the views of the API.


def answer_bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not is_admin(request):
        return respond(UNREADABLE)
    if isinstance(exception, DisallowedHost):
        return error_pages.show_refused_host(request)
    return defaults.bad_request(request, exception)


def answer_forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return defaults.permission_denied(request, exception) if is_admin(request) else respond(FORBIDDEN)


def answer_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return defaults.page_not_found(request, exception) if is_admin(request) else respond(NOT_FOUND)


def answer_server_error(request: HttpRequest) -> HttpResponse:
    """Answer the exception that Django is handling: 503 if the database is away or too slow, otherwise 500."""
    exception = sys.exception()
    if exception is not None and is_of_database(exception):
        held = HELD if is_lock_timeout(exception) else ""
        if not error_pages.is_page(request.path_info):
            return respond(replace(database_unavailable(), message=held) if held else database_unavailable())
        return error_pages.show_refusal(request, replace(database_unavailable(), message=held or PAGE_UNAVAILABLE))
    return defaults.server_error(request) if is_admin(request) else respond(INTERNAL_ERROR)


def is_of_database(exception: BaseException) -> bool:
    """Return whether the database is away, too slow, or takes no writes, which another server may be about to."""
    return isinstance(exception, DATABASE_ERRORS) or isinstance(exception.__cause__, ReadOnlySqlTransaction)


def is_admin(request: HttpRequest) -> bool:
    return request.path_info.startswith(ADMIN)

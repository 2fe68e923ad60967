"""Middleware of all requests to Django; the wire endpoints bypass it (api.asgi)."""

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from api.http.public_address import forwarded_host, is_public

# The own host only. Scripts and styles are files; a page has none of its own, and no script evaluates text.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Swagger UI writes style elements and shows pictures that it holds as data.
REFERENCE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
OTHER_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"


def set_content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Let a page load from its own host only, and any other response load nothing (promise B-13)."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        is_reference = request.path.startswith("/api/docs")
        is_page = request.path.startswith("/admin")
        response.headers.setdefault(
            "Content-Security-Policy", REFERENCE_POLICY if is_reference else PAGE_POLICY if is_page else OTHER_POLICY
        )
        return response

    return middleware


def replace_nul(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Replace NUL in a query string by U+FFFD, because PostgreSQL refuses NUL in text."""

    def middleware(request: HttpRequest) -> HttpResponse:
        query = request.META.get("QUERY_STRING", "")
        if "%00" in query:
            request.META["QUERY_STRING"] = query.replace("%00", "%EF%BF%BD")
        return get_response(request)

    return middleware


def take_forwarded_host(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Replace the host of a request by the public one if its proxy forwards that (api.http.public_address)."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if is_public(forwarded_host(request.headers.get("x-forwarded-host", ""))):
            request.META["HTTP_HOST"] = settings.PUBLIC_HOST
        return get_response(request)

    return middleware


def return_to_utc(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Let the time zone of a page end with its request: a thread of a server answers many."""

    def middleware(request: HttpRequest) -> HttpResponse:
        with timezone.override(None):
            return get_response(request)

    return middleware

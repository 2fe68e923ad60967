"""What every request to Django passes, the wire endpoints excepted (api.wsgi)."""

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from api.http.public_address import forwarded_host, is_public

# Own host only. The theme's exceptions, and no others: Alpine.js evaluates the expressions of its attributes
# (unsafe-eval) and sets widths by writing style attributes; htmx adds one style element, always the same (its hash).
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; "
    "style-src 'self' 'sha256-bsV5JivYxvGywDAZ22EZJKBFip65Ng9xoJVLbBg7bdo='; style-src-attr 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
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
    """Let a page load from its own host only, and whatever is no page load nothing (promises B-13)."""

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
    """Let NUL in a query string be U+FFFD, as in everything that is stored: PostgreSQL takes no NUL in text."""

    def middleware(request: HttpRequest) -> HttpResponse:
        query = request.META.get("QUERY_STRING", "")
        if "%00" in query:
            request.META["QUERY_STRING"] = query.replace("%00", "%EF%BF%BD")
        return get_response(request)

    return middleware


def take_forwarded_host(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Let a request whose proxy asks under a name of its own be one to the public address (api.http.public_address)."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if is_public(forwarded_host(request.META)):
            request.META["HTTP_HOST"] = settings.PUBLIC_HOST
        return get_response(request)

    return middleware

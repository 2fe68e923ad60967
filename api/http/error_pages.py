"""Pages for requests that reach no view. They say what was wrong, which setting to change, and when to retry.

Most refused forms and hosts come from a proxy that hides the public address from Django.
"""

from functools import cache
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_NO_CSRF_COOKIE
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache

from api.events.refusal import Refusal
from api.http import middleware

MAX_SHOWN: Final = 200  # of a header that is shown
PAGE_PATHS: Final = ("/admin/", "/api/docs")  # beginnings of the paths of pages
TITLES: Final = {
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available just now",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Too large",
    HTTPStatus.BAD_REQUEST: "This request cannot be read",
}
PAGE_HEADERS: Final = (  # of every page, also without Django's middleware
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", middleware.PAGE_POLICY),
    ("X-Frame-Options", settings.X_FRAME_OPTIONS),
    ("Referrer-Policy", settings.SECURE_REFERRER_POLICY),
)
HEADERS: Final = {
    "HTTP_HOST": "Host",
    "HTTP_X_FORWARDED_HOST": "X-Forwarded-Host",
    "HTTP_X_FORWARDED_PROTO": "X-Forwarded-Proto",
}


@never_cache
def show_refused_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form with a wrong origin or token, as CSRF_FAILURE_VIEW."""
    is_of_address = reason.startswith(("Origin", "Referer"))
    is_of_cookie = reason == REASON_NO_CSRF_COOKIE
    context = {
        "is_of_address": is_of_address,
        "is_of_cookie": is_of_cookie,
        "seen": describe_address_headers(request),
        "public_url": settings.PUBLIC_URL,
        "asked_for": f"{request.scheme}://{request.get_host()}",
        "cookies_need_tls": settings.CSRF_COOKIE_SECURE and not request.is_secure(),
        "origin": read_origin(request.headers.get("Origin", "")),
    }
    return render(request, "refused_form.html", context, status=403)


@never_cache
def show_refused_host(request: HttpRequest) -> HttpResponse:
    """Answer a request to an unknown host name, without naming the expected ones."""
    return render(request, "refused_host.html", {"seen": describe_address_headers(request)}, status=400)


def describe_address_headers(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the headers that Django checks, with their values. Paths are left out, because they may name a person."""
    addresses = [(name, read_origin(request.headers.get(name, ""))) for name in ("Origin", "Referer")]
    others = [(label, str(request.META.get(name, ""))[:MAX_SHOWN]) for name, label in HEADERS.items()]
    return [*addresses, *others, ("Scheme", request.scheme or "")]


def read_origin(address: str) -> str:
    """Return scheme, host and port of an address; the text itself if it has none, as `null` has."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "unreadable"
    host = parts.netloc.rpartition("@")[2]  # without a user and a password
    return (f"{parts.scheme}://{host}" if host else address)[:MAX_SHOWN]


def is_page(path: str) -> bool:
    return path in {"/", "/admin"} or path.startswith(PAGE_PATHS)


def show_refusal(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Answer with a refusal of the API as a page. No query: the database may be what is missing."""
    page = render_refusal(refusal, loads_again=request.method == "GET")
    return HttpResponse(page, status=refusal.status, headers=dict((*refusal.headers, *PAGE_HEADERS)))


def render_refusal(refusal: Refusal, *, loads_again: bool) -> str:
    """Return the page of a refusal. With Retry-After it reloads itself, unless the request was a form."""
    seconds = dict(refusal.headers).get("Retry-After", "") if loads_again else ""
    return _render(TITLES[HTTPStatus(refusal.status)], refusal.message, seconds)


@cache  # few pages, and they are sent when the process is busy
def _render(title: str, message: str, seconds: str) -> str:
    return render_to_string("refusal.html", {"title": title, "message": message, "seconds": seconds})

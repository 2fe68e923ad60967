"""Pages for a request that Django refuses before any view: what was seen, what was expected, which setting to set.

Most of these people have a proxy that hides from Django how they reached it.
"""

from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_NO_CSRF_COOKIE
from django.shortcuts import render
from django.views.decorators.cache import never_cache

LONGEST: Final = 200  # of a header that is shown
HEADERS: Final = {
    "HTTP_HOST": "Host",
    "HTTP_X_FORWARDED_HOST": "X-Forwarded-Host",
    "HTTP_X_FORWARDED_PROTO": "X-Forwarded-Proto",
}


@never_cache
def show_refused_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form whose origin or token Django does not believe, as CSRF_FAILURE_VIEW."""
    is_of_address = reason.startswith(("Origin", "Referer"))
    is_of_cookie = reason == REASON_NO_CSRF_COOKIE
    context = {
        "is_of_address": is_of_address,
        "is_of_cookie": is_of_cookie,
        "seen": seen(request),
        "public_url": settings.PUBLIC_URL,
        "asked_for": f"{request.scheme}://{request.get_host()}",
        "cookies_need_tls": settings.CSRF_COOKIE_SECURE and not request.is_secure(),
        "origin": origin_of(request.headers.get("Origin", "")),
    }
    return render(request, "refused_form.html", context, status=403)


@never_cache
def show_refused_host(request: HttpRequest) -> HttpResponse:
    """Answer a request to a host name that is not this installation's. Expected names are not told to strangers."""
    return render(request, "refused_host.html", {"seen": seen(request)}, status=400)


def seen(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the headers by which Django decides, with their values; of addresses no path, which may name a person."""
    addresses = [(name, origin_of(request.headers.get(name, ""))) for name in ("Origin", "Referer")]
    others = [(label, str(request.META.get(name, ""))[:LONGEST]) for name, label in HEADERS.items()]
    return [*addresses, *others, ("Scheme", request.scheme or "")]


def origin_of(address: str) -> str:
    """Return scheme, host and port of an address; the text itself if it has none, as `null` has."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "unreadable"
    host = parts.netloc.rpartition("@")[2]  # a password may be before it
    return (f"{parts.scheme}://{host}" if host else address)[:LONGEST]

"""Where this installation is reached from outside (GOALPOST_PUBLIC_URL), as links and senders' settings name it."""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from api.settings import without_port

HOST_HEADERS: Final = "Host, X-Forwarded-Host, X-Forwarded-Proto"  # what `asked_address` depends on


def link_to(path: str) -> str:
    """Return the full address of a page, or the path alone if no public address is set."""
    return f"{settings.PUBLIC_URL}{path}"


def forwarded_host(headers: Mapping[str, Any]) -> str:
    """Return the host that the first proxy was asked for, if a proxy says so; `headers` as in a WSGI environment."""
    return str(headers.get("HTTP_X_FORWARDED_HOST", "")).partition(",")[0].strip()


def is_public(host: str) -> bool:
    """Return whether a host header names the public address, with its port or without one as nginx's `$host` does.

    Only such a host is believed of X-Forwarded-Host, which any client may send: nobody can make up another one.
    """
    public = settings.PUBLIC_HOST
    return bool(public) and host.lower() in {public, without_port(public)}


def asked_address(headers: Mapping[str, Any]) -> tuple[str, str]:
    """Return (scheme, host) under which a sender reached this server, as far as its proxies tell.

    It is the public address if the host is, whatever a proxy left out. Any other host stays: senders and readers may
    have names of their own (docker/Caddyfile).
    """
    host = str(headers.get("HTTP_HOST", ""))
    if is_public(forwarded_host(headers)) or is_public(host):
        return settings.PUBLIC_URL.partition("://")[0], settings.PUBLIC_HOST
    scheme = str(headers.get("HTTP_X_FORWARDED_PROTO") or headers.get("wsgi.url_scheme", ""))
    return "https" if scheme.startswith("https") else "http", host

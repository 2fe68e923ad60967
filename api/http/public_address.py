"""The public address of this installation (GOALPOST_PUBLIC_URL), for links and for settings of senders."""

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.http import HttpRequest

from api.runtime.sdk_hosts import without_port

HOST_HEADERS: Final = "Host, X-Forwarded-Host, X-Forwarded-Proto"  # the headers that `asked_address` reads


def link_to(path: str) -> str:
    """Return the full address of a page, or the path alone if no public address is set."""
    return f"{settings.PUBLIC_URL}{path}"


def root_for(request: HttpRequest) -> str:
    """Return the public address, or if none is set the address that this request used."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


def forwarded_host(header: str) -> str:
    """Return the host of the request to the first proxy, from X-Forwarded-Host; empty if no proxy forwards it."""
    return header.partition(",")[0].strip()


def is_public(host: str) -> bool:
    """Return True if a host header names the public address, also without its port, as nginx's `$host` does.

    X-Forwarded-Host counts only if it names this host, because any client can send that header.
    """
    public = settings.PUBLIC_HOST
    return bool(public) and host.lower() in {public, without_port(public)}


def asked_address(header: Callable[[str], str], *, scheme: str) -> tuple[str, str]:
    """Return (scheme, host) of the address that a sender used, as far as its proxies forward it.

    `header` returns the value of a header by its name in lower case.

    A public host means the public address, whatever a proxy left out. Any other host stays, because senders and
    readers may have host names of their own (docker/Caddyfile).
    """
    host = header("host")
    if is_public(forwarded_host(header("x-forwarded-host"))) or is_public(host):
        return settings.PUBLIC_URL.partition("://")[0], settings.PUBLIC_HOST
    scheme = header("x-forwarded-proto") or scheme
    return "https" if scheme.startswith("https") else "http", host

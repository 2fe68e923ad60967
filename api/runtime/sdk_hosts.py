"""Host names of Kameleoon's SDKs: a name of a domain D with one of these first labels. Pure."""

import re
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from django.core.exceptions import ImproperlyConfigured

LABELS: Final = ("data", "api", "sdk-config", "events", "integrations")
FIRST_LABEL: Final = re.compile(rf"(?:{'|'.join(LABELS)})\.(?=[^.])")
PORT: Final = re.compile(r":[0-9]*\Z")
DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?")


def without_port(host: str) -> str:
    return PORT.sub("", host)


def domain_of(host: str) -> str:
    """Return D for a Host header: its name in lower case, without the port and one of the first labels.

    Return an empty text for what is no host name.
    """
    name = without_port(host.strip().lower()).rstrip(".")
    name = FIRST_LABEL.sub("", name, count=1)
    return name if DOMAIN.fullmatch(name) else ""


def hosts_of(domains: Sequence[str]) -> list[str]:
    """Return the names that SDKs use of each of these domains."""
    return [f"{label}.{domain}" for domain in domains for label in LABELS]


def sdk_domains_from(names: list[str], public_host: str) -> list[str]:
    """Return the domains of SDKs: that of the public address, if it is a name, and these. Raises ImproperlyConfigured.

    SDKs put data., api. and others before such a domain. One of these in front of it is left out.
    """
    domains = []
    for name in (each.strip() for each in names if each.strip()):
        if ":" in name or "/" in name or not (domain := domain_of(name)):
            raise ImproperlyConfigured(
                f"GOALPOST_SDK_DOMAINS: {name[:100]} is no domain; write what SDKs have as network_domain, without "
                "scheme, port and path"
            )
        domains.append(domain)
    own = domain_of(public_host)
    with suppress(ValueError):  # a name is no address
        ip_address(without_port(public_host).strip("[]"))
        own = ""
    return list(dict.fromkeys([*([own] if own else []), *domains]))

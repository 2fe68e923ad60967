"""Host names of Kameleoon's SDKs: a name of a domain D with one of these first labels. Pure but for the settings."""

import re
from collections.abc import Sequence
from typing import Final

LABELS: Final = ("data", "api", "sdk-config", "events", "integrations")
FIRST_LABEL: Final = re.compile(rf"(?:{'|'.join(LABELS)})\.(?=[^.])")
DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?")


def domain_of(host: str) -> str:
    """Return D for a Host header: its name in lower case, without the port and one of the first labels.

    Return an empty text for what is no host name.
    """
    name = re.sub(r":[0-9]*\Z", "", host.strip().lower()).rstrip(".")
    name = FIRST_LABEL.sub("", name, count=1)
    return name if DOMAIN.fullmatch(name) else ""


def hosts_of(domains: Sequence[str]) -> list[str]:
    """Return the names that SDKs use of each of these domains."""
    return [f"{label}.{domain}" for domain in domains for label in LABELS]

"""A signed POST to an address that the owner of a site set, from a machine whose network is somebody else's.

Who owns a site need not own the machine. So only public addresses are connected to; private ones within
GOALPOST_WEBHOOK_NETWORKS, which is the operator's to set; link-local ones and those of metadata services never. The
address that was looked at is the one connected to: a name that resolves otherwise a moment later leads nowhere else.
Redirects are not followed.
"""

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

SECONDS: Final = 5.0  # to connect, and then for all of the rest
EXCERPT: Final = 200  # bytes of the answer that are kept
SIGNATURE: Final = "X-Goalpost-Signature"
PORTS: Final = {"http": 80, "https": 443}
# Where clouds tell machines their secrets, whatever the operator lets owners reach.
NEVER: Final = tuple(
    ip_network(each)
    for each in (
        "169.254.0.0/16",
        "fe80::/10",
        "fec0::/10",  # site-local: private, though Python calls it global
        "fd00:ec2::/32",  # Amazon's, over IPv6
        "fd20:ce::/32",  # Google's, over IPv6
        "100.100.100.200/32",  # Alibaba's
        "192.0.0.192/32",  # Oracle's
        "168.63.129.16/32",  # Azure's, a public address
    )
)
NAT64: Final = ip_network("64:ff9b::/96")
# Networks that are not public, from the IANA's registries of special addresses. `is_global` of the standard library
# changes with Python's patch versions: 192.0.0.8 was global before 3.11.10.
NOT_PUBLIC: Final = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by the customers of a carrier
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
)
GLOBAL_UNICAST: Final = ip_network("2000::/3")  # all else of IPv6 is private, reserved or multicast
Address = IPv4Address | IPv6Address


class RefusedError(Exception):
    """The webhook cannot be told, in words for the log."""


def sign(body: bytes, *, secret: str, at: int) -> str:
    """The header's value: when, in seconds since 1970, and HMAC-SHA256 of `<when>.<body>` under the secret."""
    return f"t={at},v1={hmac.new(secret.encode(), b'%d.%b' % (at, body), hashlib.sha256).hexdigest()}"


def read_url(url: str) -> SplitResult:
    """The parts of a webhook's address. Raises RefusedError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RefusedError("The address cannot be read.") from error
    if any(ord(letter) <= ord(" ") or ord(letter) > ord("~") for letter in url):
        raise RefusedError("The address holds spaces or letters that belong percent-encoded.")
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise RefusedError("The address must begin with https:// or http:// and a host.")
    if "@" in parts.netloc:
        raise RefusedError("The address holds a user or a password: put the secret into its path instead.")
    return parts


def fingerprint(url: str) -> str:
    """Tells two addresses apart, and neither."""
    return hashlib.sha256(url.encode()).hexdigest()[:8]


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None) or address
    return address


def is_allowed(address: Address) -> bool:
    """Whether a webhook may lead there."""
    address = embedded(address)
    if any(address in network for network in NEVER):
        return False
    if any(address in network for network in settings.WEBHOOK_NETWORKS):
        return True
    is_public = address.version == 4 or address in GLOBAL_UNICAST  # noqa: PLR2004 - IPv4
    is_public = is_public and not any(address in network for network in NOT_PUBLIC)
    return is_public and not is_of_this_machine(address)


def is_of_this_machine(address: Address) -> bool:
    """Return whether an address is one of this machine, whose firewall does not protect its ports from within."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))  # nothing is sent: the kernel only chooses the way
            return str(probe.getsockname()[0]).partition("%")[0] == str(address)
    except OSError:  # no way leads there
        return False


def resolve(host: str, port: int) -> Address:
    """Return an address of a host to which all of its addresses let a webhook lead. Raises RefusedError.

    An unknown name and one that leads to a private address get the same message. Otherwise an owner could list the
    machines of the inner network.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    addresses = [ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    if not addresses or not all(map(is_allowed, addresses)):
        raise RefusedError(
            f"The host {host} is not known, or leads to an address that is not public. Whoever runs this Goalpost can "
            "allow networks of their own with GOALPOST_WEBHOOK_NETWORKS; link-local and metadata addresses never."
        )
    return addresses[0]


def post(url: str, content: Mapping[str, Any], *, secret: str) -> str:
    """POST content as JSON, signed; the answer's status and an excerpt where it is 2xx. Else raises RefusedError.

    Takes twice SECONDS at most once the name is resolved, however slowly the answer comes.
    """
    parts = read_url(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    body = json.dumps(content).encode()
    headers = {
        "Host": parts.netloc,
        "Content-Type": "application/json",
        "User-Agent": "Goalpost",
        "Connection": "close",
        SIGNATURE: sign(body, secret=secret, at=int(time.time())),
    }
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        link = socket.create_connection((str(resolve(host, port)), port), SECONDS)
    except OSError as error:
        raise RefusedError(f"{host} could not be reached: {error.strerror or type(error).__name__}.") from error
    if parts.scheme == "https":
        link = ssl.create_default_context().wrap_socket(link, server_hostname=host, do_handshake_on_connect=False)
    is_late = threading.Event()

    def cut() -> None:  # a timeout of the socket's begins anew with each byte
        is_late.set()
        with suppress(OSError):
            socket.socket.shutdown(link, socket.SHUT_RDWR)

    timer = threading.Timer(SECONDS, cut)
    timer.start()
    excerpt = b""
    try:
        if isinstance(link, ssl.SSLSocket):
            link.do_handshake()
        talk = http.client.HTTPConnection(host, port)
        talk.sock = link
        talk.request("POST", target, body, headers)
        answer = talk.getresponse()
        with suppress(OSError, http.client.HTTPException, ValueError):  # the status is what counts
            excerpt = answer.read(EXCERPT)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if is_late.is_set() or isinstance(error, TimeoutError):
            raise RefusedError(f"{host} did not answer in {SECONDS:g} seconds.") from error
        raise RefusedError(f"{host} did not answer as it should: {type(error).__name__}.") from error
    finally:
        timer.cancel()
        link.close()
    told = f"HTTP {answer.status}: {' '.join(excerpt.decode(errors='replace').split())}".rstrip(": ")
    if 200 <= answer.status < 300:  # noqa: PLR2004 - the statuses that say yes
        return told
    raise RefusedError(told + (" Redirects are not followed." if 300 <= answer.status < 400 else ""))  # noqa: PLR2004

"""Signed POST to the webhook of an alert.

The owner of a site sets the address but need not own the machine. So Goalpost connects to public addresses only, to
private ones if GOALPOST_WEBHOOK_NETWORKS of the operator holds them, and never to link-local ones and metadata
services. It connects to the address that it has checked: a name that resolves differently a moment later leads nowhere
else. It does not follow redirects.
"""

import hashlib
import hmac
import json
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import httpcore
from django.conf import settings

SECONDS: Final = 5.0  # to connect, and again for the request and its answer
EXCERPT: Final = 200  # bytes of the answer that are kept
SIGNATURE: Final = "X-Goalpost-Signature"
PORTS: Final = {"http": 80, "https": 443}
# Where clouds give machines their secrets: refused whatever the operator allows.
NEVER: Final = tuple(
    ip_network(network)
    for network in (
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
    ip_network(network)
    for network in (
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


class WebhookError(Exception):
    """Reason why a webhook did not take a message, in words for the log."""


def sign(body: bytes, *, secret: str, at: int) -> str:
    """Return the header's value: seconds since 1970 and the HMAC-SHA256 of `<seconds>.<body>` under the secret."""
    return f"t={at},v1={hmac.new(secret.encode(), b'%d.%b' % (at, body), hashlib.sha256).hexdigest()}"


def read_url(url: str) -> SplitResult:
    """Return the parts of a webhook's address. Raises WebhookError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise WebhookError("The address cannot be read.") from error
    if any(ord(letter) <= ord(" ") or ord(letter) > ord("~") for letter in url):
        raise WebhookError("The address holds spaces or letters that belong percent-encoded.")
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise WebhookError("The address must begin with https:// or http:// and a host.")
    if "@" in parts.netloc:
        raise WebhookError("The address holds a user or a password: put the secret into its path instead.")
    return parts


def fingerprint(url: str) -> str:
    """Return a text that tells two addresses apart and reveals neither."""
    return hashlib.sha256(url.encode()).hexdigest()[:8]


def translated(address: Address) -> Address:
    """Return the IPv4 address to which an IPv6 address leads, if it leads to one, else the address itself."""
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None) or address
    return address


def is_allowed(address: Address) -> bool:
    """Return whether a webhook may lead to this address."""
    address = translated(address)
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
    """Return the first address of a host if a webhook may lead to all of its addresses. Raises WebhookError otherwise.

    An unknown name and one that leads to a private address get the same message. Otherwise an owner could list the
    machines of the inner network.
    """
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        infos = []
    addresses = [ip_address(str(info[4][0]).partition("%")[0]) for info in infos]
    if not addresses or not all(map(is_allowed, addresses)):
        raise WebhookError(
            f"The host {host} is not known, or leads to an address that is not public. Whoever runs this Goalpost can "
            "allow networks of their own with GOALPOST_WEBHOOK_NETWORKS; link-local and metadata addresses never."
        )
    return addresses[0]


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to no address before `resolve` has allowed it."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        address = str(resolve(host, port))
        try:
            stream = httpcore.SyncBackend().connect_tcp(address, port, SECONDS, local_address, socket_options)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise WebhookError(f"{host} could not be reached: {reason(error)}.") from error
        return DeadlineStream(stream, until=time.monotonic() + SECONDS)


class DeadlineStream(httpcore.NetworkStream):
    """Ends all reads and writes at one moment: httpcore's timeouts begin again with each byte."""

    def __init__(self, stream: httpcore.NetworkStream, *, until: float) -> None:
        self._stream = stream
        self._until = until

    def _left(self) -> float:
        return max(self._until - time.monotonic(), 0.001)  # 0 would mean not to wait at all, which is no timeout

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        return DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, self._left()), until=self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def reason(error: Exception) -> str:
    """Return why httpcore failed, as the system says it, else as the exception is called."""
    cause = error.__cause__ or error
    return getattr(cause, "strerror", None) or type(cause).__name__


def post(url: str, content: Mapping[str, Any], *, secret: str) -> str:
    """POST content as signed JSON and return the status and an excerpt of a 2xx answer. Raises WebhookError otherwise.

    Takes twice SECONDS at most once the name is resolved, however slowly the answer comes.
    """
    parts = read_url(url)
    body = json.dumps(content).encode()
    headers: dict[bytes | str, bytes | str] = {
        "Host": parts.netloc,
        "Content-Type": "application/json",
        "User-Agent": "Goalpost",
        "Accept-Encoding": "identity",
        "Connection": "close",
        SIGNATURE: sign(body, secret=secret, at=int(time.time())),
    }
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        status, excerpt = exchange(
            httpcore.URL(scheme=parts.scheme, host=host, port=port, target=target), headers, body
        )
    except httpcore.TimeoutException as error:
        raise WebhookError(f"{host} did not answer in {SECONDS:g} seconds.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise WebhookError(f"{host} did not answer as it should: {reason(error)}.") from error
    answer = f"HTTP {status}: {' '.join(excerpt.decode(errors='replace').split())}".rstrip(": ")
    if 200 <= status < 300:  # noqa: PLR2004 - the statuses that say yes
        return answer
    raise WebhookError(answer + (" Redirects are not followed." if 300 <= status < 400 else ""))  # noqa: PLR2004


def exchange(url: httpcore.URL, headers: dict[bytes | str, bytes | str], body: bytes) -> tuple[int, bytes]:
    """POST and return the status with the beginning of the answer. Raises what httpcore raises until the status came.

    httpcore and not httpx: no redirect, no proxy from the environment, no decompression, and a public way to connect.
    """
    context = ssl.create_default_context()  # the machine's certificates; httpcore's own would be certifi's
    excerpt = b""
    with (
        httpcore.HTTPConnection(url.origin, ssl_context=context, network_backend=CheckedBackend()) as connection,
        connection.stream("POST", url, headers=headers, content=body) as response,
    ):
        with suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
            for part in response.iter_stream():
                excerpt += part
                if len(excerpt) >= EXCERPT:
                    break
        return response.status, excerpt[:EXCERPT]

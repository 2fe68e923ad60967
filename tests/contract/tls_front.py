"""Front of the web server that ends TLS for the names that Kameleoon's SDKs call, and notes what passes."""

import asyncio
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DOMAIN = "goalpost.test"
NAMES = [f"{label}.{DOMAIN}" for label in ("data", "api", "sdk-config", "events", "integrations")]
PORTS = (443, 8110)  # the ones that the SDKs use, as constants
REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
RESPONSE = re.compile(rb"HTTP/1\.1 (\d{3})")


@dataclass
class Exchange:
    """A request, and the status of its response, 0 until there is one."""

    method: str
    path: str
    status: int = 0


@dataclass
class Front:
    """A TLS front in a thread of its own."""

    folder: Path
    upstream: int  # port of the web server
    port: int = 0  # of loopback, for browsers
    exchanges: list[Exchange] = field(default_factory=list)
    is_away: bool = False  # no connection leads to the server
    answers_to_lose: int = 0  # to POST /visit/events: the server has it, and the client never learns so
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    @property
    def authority(self) -> Path:
        """The certificate of the authority, for SSL_CERT_FILE and the like."""
        return self.folder / "authority.pem"

    def statuses(self, method: str, path: str) -> list[int]:
        """Return the statuses of the requests whose paths begin so."""
        return [each.status for each in self.exchanges if each.method == method and each.path.startswith(path)]

    def go_away(self) -> None:
        """Refuse connections and end open ones, as if the server were gone."""
        self.is_away = True
        asyncio.run_coroutine_threadsafe(self._end_connections(), self._loop).result(10)

    def come_back(self) -> None:
        """Accept connections again."""
        self.is_away = False

    async def _end_connections(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_away:
            writer.transport.abort()
            return
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        self._writers |= {writer, back_writer}
        mine: list[Exchange] = []
        try:
            await asyncio.gather(
                self._pass_requests(reader, back_writer, mine), self._pass_responses(back_reader, writer, mine)
            )
        finally:
            self._writers -= {writer, back_writer}

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mine: list[Exchange]
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                if match := REQUEST.match(piece):  # clients begin each request with a new piece
                    mine.append(Exchange(match[1].decode(), match[2].decode()))
                    self.exchanges.append(mine[-1])
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def _pass_responses(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mine: list[Exchange]
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                if (match := RESPONSE.match(piece)) and mine:
                    mine[-1].status = int(match[1])
                    if self.answers_to_lose and (mine[-1].method, mine[-1].path[:13]) == ("POST", "/visit/events"):
                        self.answers_to_lose -= 1
                        writer.transport.abort()
                        break
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def _listen(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "names.pem")
        for port in PORTS:
            await asyncio.start_unix_server(self._serve, self.folder / f"{port}.port", ssl=context)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]

    def start(self) -> None:
        write_certificates(self.folder)
        self._loop.run_until_complete(self._listen())
        Thread(target=self._loop.run_forever, name="tls front", daemon=True).start()

    def stop(self) -> None:
        self.go_away()
        self._loop.call_soon_threadsafe(self._loop.stop)


def write_certificates(folder: Path) -> None:
    """Make an authority, and a certificate of it for all names."""
    now = datetime.now(UTC)

    def sign(
        subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
    ) -> x509.Certificate:
        is_authority = subject == issuer
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in NAMES]), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = sign("tests", authority_key, "tests", authority_key)
    certificate = sign(NAMES[0], key, "tests", authority_key)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "authority.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (folder / "names.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)


@contextmanager
def running_front(upstream: int) -> Iterator[Front]:
    """Run a front of the web server on this port until the block ends."""
    with tempfile.TemporaryDirectory(prefix="gp-front-") as folder:  # a short path, which a socket needs
        front = Front(Path(folder), upstream)
        front.start()
        try:
            yield front
        finally:
            front.stop()

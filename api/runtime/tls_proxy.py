"""TLS in front of the web server of `make run`: `python -m api.runtime.tls_proxy CERTIFICATE KEY UPSTREAM ADDRESS…`.

A separate program, because the web server listens at one address, with TLS or without it. It passes bytes on and reads
none of them. Addresses are `host:port`.
"""

import asyncio
import ssl
import sys
from contextlib import suppress
from typing import Final

CHUNK: Final = 65_536
HANDSHAKE_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 5.0  # the web server may be starting again


async def serve(certificate: str, key: str, upstream: str, addresses: list[str]) -> None:
    """Accept connections at these addresses until the program ends."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)  # TLS 1.2 and 1.3, PHP's SDK uses 1.2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    host, port = split(upstream)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, ssl.SSLError):
            async with asyncio.timeout(CONNECT_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(host, port)
            await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))
        writer.close()

    servers = []
    for address in addresses:
        at, number = split(address)
        servers.append(
            await asyncio.start_server(accept, at, number, ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS)
        )
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Write what one side sends to the other, as fast as it takes it, and close it at the end."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass
    finally:
        writer.close()


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        certificate_file, key_file, upstream_address, *own_addresses = sys.argv[1:]
        asyncio.run(serve(certificate_file, key_file, upstream_address, own_addresses))

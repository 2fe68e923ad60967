"""Script that runs a command on a network of its own, where the names of a domain lead to Goalpost and no others exist.

`unshare --map-root-user --mount --net python own_network.py TASK COMMAND…`, which needs no rights. TASK is JSON: the
folder with one socket a port, and the names. The ports listen on the loopback of this network and pass everything on.
"""

import asyncio
import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

MS_BIND = 4096
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def raise_loopback() -> None:
    """Switch on the loopback of this network."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def name_hosts(folder: Path, names: list[str]) -> None:
    """Put a file with these names in the place of /etc/hosts, for this process and its children."""
    hosts = folder / f"hosts-{os.getpid()}"
    hosts.write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(str(hosts).encode(), b"/etc/hosts", None, MS_BIND, None):
        raise OSError(ctypes.get_errno(), "cannot mount a file over /etc/hosts")


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until one side ends."""
    with suppress(OSError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    with suppress(OSError):
        writer.close()


async def relay(path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connect a client with the socket of its port. If nothing listens there, the connection ends."""
    try:
        back_reader, back_writer = await asyncio.open_unix_connection(path)
    except OSError:
        writer.transport.abort()
        return
    await asyncio.gather(pass_on(reader, back_writer), pass_on(back_reader, writer))


async def run(folder: Path, command: list[str]) -> int:
    """Run the command beside the relays, and return its status."""
    for path in folder.glob("*.port"):  # noqa: ASYNC240 - before anything runs
        await asyncio.start_server(partial(relay, path), "127.0.0.1", int(path.stem))
    child = await asyncio.create_subprocess_exec(*command)
    return await child.wait()


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    raise_loopback()
    name_hosts(Path(task["folder"]), task["names"])
    sys.exit(asyncio.run(run(Path(task["folder"]), sys.argv[2:])))

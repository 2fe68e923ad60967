"""Large bodies and their compression."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

MEBIBYTE = 1 << 20

needs_proc = pytest.mark.skipif(not Path("/proc").exists(), reason="measures memory through /proc")


def in_pieces(body: bytes) -> Iterator[bytes]:
    return (body[start : start + 50_000] for start in range(0, len(body), 50_000))


def bomb(size: int) -> bytes:
    """Return `size` spaces as gzip without holding them: one MiB is compressed once and repeated."""
    deflater = zlib.compressobj(9, wbits=-15)
    space = b" " * MEBIBYTE
    block = deflater.compress(space) + deflater.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(size // MEBIBYTE):
        checksum = zlib.crc32(space, checksum)
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return head + block * (size // MEBIBYTE) + deflater.flush() + struct.pack("<II", checksum, size % 2**32)

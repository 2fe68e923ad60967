"""Decoding of bodies and files to plain UTF-8 by their Content-Encoding and byte order mark. Pure."""

import codecs
import zlib
from typing import Final

UTF_16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MARKS: Final = (codecs.BOM_UTF8, *UTF_16_MARKS)
NONE: Final = frozenset({"", "identity"})
# By zlib; for `deflate` the first bytes decide, because some senders leave its frame away.
WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
UNFRAMED: Final = -15
STEP: Final = 64  # bytes of a damaged body that are tried at a time


def strip_byte_order_mark(body: bytes) -> bytes:
    """Return the body as UTF-8, without the byte order mark that PowerShell, .NET, Excel and editors put at its start.

    A body with the mark of UTF-16 is decoded as UTF-16, because no UTF-8 begins with these bytes. Raises
    UnicodeDecodeError if it is not UTF-16.
    """
    if not body.startswith(MARKS):
        return body
    if body.startswith(UTF_16_MARKS):
        body = body.decode("utf-16").encode()
    while body.startswith(codecs.BOM_UTF8):  # joined files have several
        body = body[len(codecs.BOM_UTF8) :]
    return body


class Inflater:
    """Inflates one body piece by piece, and keeps what it could not inflate."""

    def __init__(self, encoding: str) -> None:
        self.fault = ""  # the reason why the rest cannot be inflated
        self._encoding = encoding
        self._stream = zlib.decompressobj(WINDOW_BITS[encoding])
        self._has_begun = False
        self._raw: list[bytes] = []  # as received, until the first output

    @property
    def raw(self) -> bytes:
        """Return the body as received if nothing of it could be inflated."""
        return b"".join(self._raw)

    def take(self, piece: bytes, most: int) -> bytes:
        """Return a piece inflated, at most `most` bytes of it; the rest of it is never inflated."""
        if not self._has_begun:
            if not self._raw and self._encoding == "deflate" and not _is_framed(piece):
                self._stream = zlib.decompressobj(UNFRAMED)
            self._raw.append(piece)
        if not self.fault and self._stream.eof:
            self.fault = "is followed by something else"
        if self.fault:
            return b""
        try:
            plain = self._stream.decompress(piece, most)
        except zlib.error:
            self.fault = f"is not {self._encoding}, or is damaged"
            plain = b"" if self._has_begun else self._salvage(most)
        if plain:
            self._has_begun = True
            self._raw.clear()
        return plain

    def end(self) -> None:
        """Set a fault if the body ended too soon or too late."""
        if not self.fault and not self._stream.eof:
            self.fault = "is cut short"
        elif not self.fault and self._stream.unused_data:
            self.fault = "is followed by something else"

    def _salvage(self, most: int) -> bytes:
        """Return the part before the damage."""
        raw = self.raw
        is_bare = self._encoding == "deflate" and not _is_framed(raw)
        stream = zlib.decompressobj(UNFRAMED if is_bare else WINDOW_BITS[self._encoding])
        plain = b""
        for start in range(0, len(raw), STEP):
            try:
                plain += stream.decompress(raw[start : start + STEP], most - len(plain))
            except zlib.error:
                break
            if len(plain) >= most:
                break
        return plain


def _is_framed(start: bytes) -> bool:
    """Return True if the frame of zlib begins a body (RFC 1950)."""
    return start[:1] == b"\x78" and (len(start) == 1 or int.from_bytes(start[:2]) % 31 == 0)


def decode(body: bytes, encoding: str, *, most: int) -> bytes | None:
    """Return a body without its Content-Encoding and its byte order mark; None if this version cannot decode it.

    Plain JSON under the name of an encoding is read as it is, because proxies decode bodies and leave the name.
    """
    if encoding in WINDOW_BITS:
        inflater = Inflater(encoding)
        plain = inflater.take(body, most + 1)
        inflater.end()
        if not inflater.fault and len(plain) <= most:
            body, encoding = plain, ""
    try:
        body = strip_byte_order_mark(body)
        if encoding not in NONE and not body.lstrip(b" \t\r\n").startswith((b"{", b"[")):
            return None
        body.decode()
    except UnicodeDecodeError:
        return None
    return body

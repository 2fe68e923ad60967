"""Bodies and files as UTF-8, whatever a byte order mark says of them. Pure."""

import codecs
from typing import Final

UTF_16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MARKS: Final = (codecs.BOM_UTF8, *UTF_16_MARKS)


def without_mark(body: bytes) -> bytes:
    """Return the body as UTF-8, without the byte order mark at its start (PowerShell, .NET, Excel and editors put one).

    What the mark says is UTF-16 is read as such: no UTF-8 begins with its bytes. Raises UnicodeDecodeError for UTF-16
    that is none.
    """
    if not body.startswith(MARKS):
        return body
    if body.startswith(UTF_16_MARKS):
        body = body.decode("utf-16").encode()
    while body.startswith(codecs.BOM_UTF8):  # files that were joined bear several
        body = body[len(codecs.BOM_UTF8) :]
    return body

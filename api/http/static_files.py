"""Static files, sent without Django, because a page asks for a dozen at once and they must not wait for pages."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]  # it has no types

from api.http.endpoint import Scope, Send
from api.http.middleware import OTHER_POLICY

PIECE: Final = 64 * 1024  # the server keeps up to five of a client that stops reading
HEADERS: Final = ((b"x-content-type-options", b"nosniff"), (b"content-security-policy", OTHER_POLICY.encode()))

files: Final = WhiteNoiseMiddleware()  # scans the directories once


async def answer(scope: Scope, send: Send) -> bool:
    """Send the file of this path; return False if there is none.

    A client that stops reading holds a few pieces of a file, and no thread.
    """
    static_file = files.files.get(scope["path"])
    if static_file is None:
        return False
    response = await asyncio.to_thread(static_file.get_response, scope["method"], list_conditions(scope))
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers]
    status = int(HTTPStatus(response.status))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *HEADERS]})
    try:
        piece = await asyncio.to_thread(response.file.read, PIECE) if response.file is not None else b""
        while len(piece) == PIECE:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await asyncio.to_thread(response.file.read, PIECE)
        await send({"type": "http.response.body", "body": piece})
    finally:
        if response.file is not None:
            response.file.close()
    return True


def list_conditions(scope: Scope) -> dict[str, Any]:
    """Return the headers of a request as whitenoise reads them, by their names in WSGI."""
    return {
        f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}": value.decode("latin-1")
        for name, value in scope["headers"]
    }

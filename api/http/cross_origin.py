"""Lets pages of any origin send events and read remote data, with whatever headers they add.

No list of names here: every SDK and every page adds headers of its own, and a browser blocks the request when a single
one is not allowed. Cookies are never allowed (`Access-Control-Allow-Credentials`), and no wire endpoint reads them, so
a page cannot act with the session of a person who is signed in to the admin.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from api.http.endpoint import Request, Response

TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a name as HTTP allows it
NAMES: Final = re.compile(rf"{TOKEN}(?:, ?{TOKEN})*", re.ASCII)
EVERY_NAME: Final = "*, Authorization"  # for a browser, `*` does not include Authorization
ORIGIN: Final = ("Access-Control-Allow-Origin", "*")
MAX_AGE: Final = ("Access-Control-Max-Age", "7200")  # the most that Chromium remembers
VARY: Final = ("Vary", "Access-Control-Request-Headers, Access-Control-Request-Method")


def answer_preflight(request: Request) -> Response:
    """Allow the method and the headers that a browser asks for before it sends to another origin.

    They are repeated because Safari before 15.4 takes `*` for a header of that name.
    """
    method = request.header("HTTP_ACCESS_CONTROL_REQUEST_METHOD")
    names = request.header("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
    methods = ("Access-Control-Allow-Methods", method if re.fullmatch(TOKEN, method) else "*")
    headers = ("Access-Control-Allow-Headers", names if NAMES.fullmatch(names) else EVERY_NAME)
    return Response(HTTPStatus.NO_CONTENT, b"", (methods, headers, MAX_AGE, VARY))


def allow_any_origin(answer: Response) -> Response:
    """Return the answer with leave for any page to read it, its headers included."""
    return replace(answer, headers=(*answer.headers, ORIGIN, expose_headers(answer.headers)))


def expose_headers(headers: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return the header that names those which a page may read: `*` for what a proxy adds, and these by name."""
    return "Access-Control-Expose-Headers", ", ".join(("*", *dict.fromkeys(name for name, _ in headers)))

"""Cross-origin headers, with which pages of any origin can send events and read remote data.

There is no list of header names, because SDKs and pages add headers of their own. A browser blocks a request with a
header that is not allowed. Cookies are never allowed (`Access-Control-Allow-Credentials`), and no wire endpoint reads
them. So a page cannot use the session of a person who is signed in to the admin.
"""

import re
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from api.http.endpoint import Request, Response

TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a name as HTTP allows it
NAMES: Final = re.compile(rf"{TOKEN}(?:, ?{TOKEN})*", re.ASCII)
MOST_NAMES: Final = 4_096  # characters that are repeated, because headers of responses are remembered
MOST_METHOD: Final = 100  # characters of a method that is repeated
EVERY_NAME: Final = "*, Authorization"  # for a browser, `*` does not include Authorization
ORIGIN: Final = ("Access-Control-Allow-Origin", "*")
MAX_AGE: Final = ("Access-Control-Max-Age", "86400")  # the most that Firefox remembers; Chromium remembers 2 hours
VARY: Final = ("Vary", "Access-Control-Request-Headers, Access-Control-Request-Method")


def answer_preflight(request: Request) -> Response:
    """Allow the method and the headers that a browser asks for before it sends to another origin.

    Repeat the names, because Safari before 15.4 reads `*` as a name.
    """
    method = request.header("access-control-request-method")
    names = request.header("access-control-request-headers")
    methods = (
        "Access-Control-Allow-Methods",
        method if len(method) <= MOST_METHOD and re.fullmatch(TOKEN, method) else "*",
    )
    is_list = len(names) <= MOST_NAMES and NAMES.fullmatch(names)
    headers = ("Access-Control-Allow-Headers", names if is_list else EVERY_NAME)
    return Response(HTTPStatus.NO_CONTENT, b"", (methods, headers, MAX_AGE, VARY))


def allow_any_origin(response: Response) -> Response:
    """Return the response with headers that let a page of any origin read it."""
    return Response(response.status, response.body, with_origin(response.headers), response.content_type)


@lru_cache(maxsize=1_024)
def with_origin(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return headers with the origin, and the names that a page may read: these, and `*` for those of a proxy."""
    names = ", ".join(("*", *dict.fromkeys(name for name, _ in headers)))
    return (*headers, ORIGIN, ("Access-Control-Expose-Headers", names))

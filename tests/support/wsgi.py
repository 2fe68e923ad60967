"""Requests with environments that no HTTP client sends."""

import io
from typing import Any
from wsgiref.util import setup_testing_defaults

from api.wsgi import application


def ask(method: str, path: str, **environ: Any) -> int:
    """Return the status for a WSGI environment like a server's, which decodes each byte as one character."""
    statuses: list[str] = []
    body = environ.pop("body", b"{}")
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **environ,
    }
    setup_testing_defaults(environ)
    b"".join(application(environ, lambda status, _: statuses.append(status)))
    return int(statuses[0].split()[0])

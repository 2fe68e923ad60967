"""Static files, sent without Django, because a page asks for a dozen at once and they must not wait for pages."""

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]  # it has no types

from api.http.concurrency import ConcurrencyLimit, LimitReachedError
from api.http.middleware import OTHER_POLICY

# A smaller file is handed to the server whole, so that a client that stops reading holds no thread. All files of pages
# are smaller; the scripts of the API reference and source maps are larger.
WHOLE_BYTES: Final = 512 * 1024
PIECE: Final = 64 * 1024
LARGE: Final = ConcurrencyLimit(running=2, waiting=2, patience=5.0)
HEADERS: Final = (("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", OTHER_POLICY))

files: Final = WhiteNoiseMiddleware()  # scans the directories once


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes] | None:
    """Send the file of this path; return None if there is none. Raises LimitReachedError for too many large files."""
    static_file = files.files.get(environ["PATH_INFO"])
    if static_file is None:
        return None
    response = static_file.get_response(environ["REQUEST_METHOD"], environ)
    headers = [*response.headers, *HEADERS]
    status = HTTPStatus(response.status)
    length = int(dict(response.headers).get("Content-Length", 0))
    if response.file is None or length <= WHOLE_BYTES:
        body = b""
        if response.file is not None:
            with response.file as file:
                body = file.read()
        start_response(f"{status:d} {status.phrase}", headers)
        return [body]
    try:
        LARGE.enter()
    except LimitReachedError:
        response.file.close()
        raise
    start_response(f"{status:d} {status.phrase}", headers)
    return LargeFile(response.file)


class LargeFile:
    """A file that is read while it is sent."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._file.read(PIECE), b"")

    def close(self) -> None:
        """Return the place. The server may call this several times."""
        if not self._file.closed:
            self._file.close()
            LARGE.leave()

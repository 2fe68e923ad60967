"""What every request to Django passes, the wire endpoints excepted (api.wsgi)."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def replace_nul(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Let NUL in a query string be U+FFFD, as in everything that is stored: PostgreSQL takes no NUL in text."""

    def middleware(request: HttpRequest) -> HttpResponse:
        query = request.META.get("QUERY_STRING", "")
        if "%00" in query:
            request.META["QUERY_STRING"] = query.replace("%00", "%EF%BF%BD")
        return get_response(request)

    return middleware

"""The page that asks before something is taken away and says in figures what that means. It needs no script."""

from collections.abc import Sequence
from typing import Final

from django.http import HttpRequest, HttpResponseBase

from api.pages.access import show

FIELD: Final = "confirmed"


def is_confirmed(request: HttpRequest) -> bool:
    """Return True if the person has seen what the form does and sends it again."""
    return FIELD in request.POST


def ask(
    request: HttpRequest, *, title: str, facts: Sequence[str], action: str, back: str, warning: str = ""
) -> HttpResponseBase:
    """Return the page that shows `facts` and sends the same form again, confirmed.

    `action` is on the button, `back` is the address that cancelling leads to. Nothing may have been changed before.
    """
    given = [(name, value) for name, values in request.POST.lists() for value in values]
    return show(
        request,
        "pages/confirm.html",
        title=title,
        facts=[fact for fact in facts if fact],
        warning=warning,
        action=action,
        back=back,
        given=[(name, value) for name, value in given if name not in {"csrfmiddlewaretoken", FIELD}],
        field=FIELD,
    )

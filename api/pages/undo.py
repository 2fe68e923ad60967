"""Messages with a button that undoes what was just done.

The button sends a form: to the action that does the contrary, or to `pages:undo` with what was taken away. That stays
in the session of the person, so that it is in no page and no cookie. The button works for an hour. What it gives back
leaves the session with the next such message, or with the session.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import get_random_string

from api.models import Site
from api.pages.access import page_of

KEPT_FOR: Final = timedelta(hours=1)
MOST_KEPT: Final = 5  # of a session, the latest
IN_SESSION: Final = "undo"
Fields = Sequence[tuple[str, str]]


class CannotUndoError(Exception):
    """Raised with a sentence if something else has taken the place meanwhile."""


def say_with_undo(request: HttpRequest, text: str, address: str, fields: Fields = ()) -> None:
    """Show a message on the next page; its button Undo sends these fields to an address."""
    messages.success(
        request, text, extra_tags=json.dumps({"address": address, "fields": [list(pair) for pair in fields]})
    )


def read_switch(request: HttpRequest, *, now: bool) -> bool:
    """Return the state that a form asks for: the other one if it names none."""
    return {"on": True, "off": False}.get(request.POST.get("to", ""), not now)


def say_switched(request: HttpRequest, text: str, address: str, fields: Fields, *, is_on: bool, was_on: bool) -> None:
    """Show what a switch is now. If it changed, the button Undo sends these fields and the state before.

    Pressed twice, or after another person, it must not do the contrary.
    """
    if is_on == was_on:
        messages.info(request, text)
    else:
        say_with_undo(request, text, address, [*fields, ("to", "on" if was_on else "off")])


def say_with_kept(request: HttpRequest, site: Site, text: str, kind: str, values: Mapping[str, Any]) -> None:
    """Show a message whose button Undo gives back what `values` says, as JSON (api.pages.undoing)."""
    now = timezone.now()
    kept = {name: each for name, each in _read(request).items() if not _is_over(each, now)}
    token = get_random_string(12)
    request.session[IN_SESSION] = {
        **dict([*kept.items()][1 - MOST_KEPT :]),
        token: {"kind": kind, "site": site.pk, "at": now.isoformat(), "values": dict(values)},
    }
    say_with_undo(request, text, page_of(site, "undo"), [("kept", token)])


def find_kept(request: HttpRequest, site: Site, token: str) -> tuple[str, dict[str, Any]] | None:
    """Return the kind and the values that a button of this site gives back, None if it is used or too old."""
    each = _read(request).get(token)
    if each is None or each["site"] != site.pk or _is_over(each, timezone.now()):
        return None
    return each["kind"], each["values"]


def forget_kept(request: HttpRequest, token: str) -> None:
    """Let a button work once."""
    request.session[IN_SESSION] = {name: each for name, each in _read(request).items() if name != token}


def _read(request: HttpRequest) -> dict[str, dict[str, Any]]:
    kept: dict[str, dict[str, Any]] = request.session.get(IN_SESSION, {})
    return kept


def _is_over(each: Mapping[str, Any], now: datetime) -> bool:
    return now - datetime.fromisoformat(each["at"]) > KEPT_FOR

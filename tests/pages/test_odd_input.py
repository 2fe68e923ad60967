"""Odd input: a page answers every address and form, and never with a 500."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.http import QueryDict
from django.test import Client

from api.http.tokens import make_token
from api.models import Membership
from tests.pages.catalogue import ACTIONS, PAGES, Place
from tests.support.pages import Enter
from tests.world import World, owner_of

# In texts, numbers, times and places of pages.
ODD: Final = (
    "",
    "a\0b",
    "\ud800".encode(errors="surrogatepass"),
    "'\"><script>alert(1)</script>{{ 1 }}{name}%00%s\u202e😀",
    "x" * 20_000,
    "-1",
    "²",  # a digit that is no number
    "٣",  # a number in other digits
    "9" * 18,
    str(2**63),
    "9" * 5_000,  # more digits than Python reads
    "1e400",
    "NaN",
    "0001-01-01",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999-14:00",
    "[" * 5_000,
)
FEW: Final = 4  # beyond them it would take minutes
CHOICES: Final = {"do", "action", "csrfmiddlewaretoken"}  # another one does nothing


@contextmanager
def names_asked_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Yield the set of names that a view looks up in addresses and forms meanwhile."""
    names: set[str] = set()

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        def look(given: Any, name: str, *default: Any) -> Any:
            names.add(name)
            return method(given, name, *default)

        return look

    with monkeypatch.context() as patch:
        for method in ("get", "getlist"):
            patch.setattr(QueryDict, method, noting(getattr(QueryDict, method)))
        yield names


def send(client: Client, method: str, address: str, given: Mapping[str, Any]) -> int:
    """Return the status of the answer, and roll its changes back."""
    form = urlencode(given)
    with transaction.atomic():
        if method == "POST":
            response: Any = client.post(address, form, content_type="application/x-www-form-urlencoded")
        else:
            response = client.get(f"{address}?{form}")
        if response.streaming:  # it may fail while it is sent
            deque(response.streaming_content, maxlen=0)
        transaction.set_rollback(True)
    return int(response.status_code)


def oddly(names: Sequence[str], usual: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield forms with each odd value for each name; for many names, one in turn and all at once."""
    for at, value in enumerate(ODD):
        if len(names) <= FEW:
            yield from ({**usual, name: value} for name in names)
        else:
            yield {**usual, names[at % len(names)]: value}
            yield {**usual, **{name: ODD[(at + place) % len(ODD)] for place, name in enumerate(names)}}


def failures(client: Client, method: str, address: str, forms: Iterator[dict[str, Any]]) -> list[tuple[int, Any]]:
    """Return the answers with a 5xx status, and the forms that caused them."""
    answers = ((send(client, method, address, form), form) for form in forms)
    return [
        (status, {name: f"{value!r:.40}" for name, value in form.items()}) for status, form in answers if status >= 500
    ]


@pytest.mark.parametrize("name", sorted(name for name, page in PAGES.items() if page.look))
def test_page__asked_oddly__answers(place: Place, enter: Enter, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    client = enter("owner")
    address, _, query = place.address(name).partition("?")
    asked = dict(part.split("=") for part in query.split("&") if part)
    for usual in [asked, *map(place.form, PAGES[name].queries)]:
        with names_asked_for(monkeypatch) as names:
            client.get(address, usual)
        if names:
            assert failures(client, "GET", address, oddly(sorted(names), usual)) == []


def test_export__of_a_list_asked_for_oddly__is_answered(place: Place, enter: Enter) -> None:
    form = {"query": "tag=%00&q=%00&after=%00"}  # the list's address, in a field
    assert send(enter("viewer"), "POST", place.address("goals-export"), form) == 200


@pytest.mark.parametrize("name", ACTIONS)
def test_form__filled_in_oddly__is_answered(
    place: Place, enter: Enter, monkeypatch: pytest.MonkeyPatch, world: World, name: str
) -> None:
    client = enter("owner")
    editor = Membership.objects.create(site=world.site, user=User.objects.create(username="editor"), role="editor")
    token, _ = make_token([world.site], description="CI", role="viewer", made_by=owner_of(world.site), expires_at=None)
    place.numbers.update(member_id=editor.pk, token_id=token.pk, credential_id=world.credential.pk)
    address = place.address(name)
    page = PAGES[name]
    for form in [page.form] if page.odd_forms is None else page.odd_forms:
        usual = place.form(form)
        with names_asked_for(monkeypatch) as names, transaction.atomic():
            client.post(address, usual)
            transaction.set_rollback(True)
        fields = sorted((names | set(usual)) - CHOICES)
        if fields:
            assert failures(client, "POST", address, oddly(fields, usual)) == [], form

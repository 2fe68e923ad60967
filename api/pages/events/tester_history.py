"""The last tests of a person, kept in their session for a day.

A dry run is in no table and no address, so it stays with its body, if that is small. A test that was sent stays as the
number of its event. What is too old leaves the session with the next test, or with the session.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import get_random_string

from api.models import Site
from api.pages.json_text import visible

KEPT_FOR: Final = timedelta(days=1)
MOST_KEPT: Final = 10  # of a site
MOST_IN_SESSION: Final = 30  # each page reads the session
MOST_CHARACTERS: Final = 4_000  # of a body
IN_SESSION: Final = "tests"


@dataclass(frozen=True, slots=True)
class PastTest:
    """A test of a site: what it was, how it ended, and what leads back to it."""

    token: str
    site: int
    at: str  # ISO 8601
    name: str
    mood: str
    outcome: str
    body: str = ""  # of a dry run; empty if it is too long
    event: int | None = None  # the event that was sent

    @property
    def tested_at(self) -> datetime:
        return datetime.fromisoformat(self.at)


def list_tests(request: HttpRequest, site: Site) -> list[PastTest]:
    """Return the tests of a site that this person made within a day, newest first."""
    return [each for each in reversed(_read(request)) if each.site == site.pk]


def remember_test(
    request: HttpRequest,
    site: Site,
    name: str,
    *,
    outcome: str,
    mood: str = "",
    body: str = "",
    event: int | None = None,
) -> None:
    """Keep a test, in place of the oldest one if there are too many."""
    test = PastTest(
        token=get_random_string(12),
        site=site.pk,
        at=timezone.now().isoformat(),
        name=visible(name)[:255],
        mood=mood,
        outcome=visible(outcome)[:500],
        body=body if len(body) <= MOST_CHARACTERS else "",
        event=event,
    )
    kept = _read(request)
    others = [each for each in kept if each.site != site.pk]
    here = [each for each in kept if each.site == site.pk]
    left = sorted([*others, *here[1 - MOST_KEPT :], test], key=lambda each: each.at)
    request.session[IN_SESSION] = [asdict(each) for each in left[-MOST_IN_SESSION:]]


def find_body(request: HttpRequest, site: Site, token: str) -> str:
    """Return the body of a dry run of this person, empty if it is not kept any more."""
    return next((each.body for each in list_tests(request, site) if each.token == token), "")


def _read(request: HttpRequest) -> list[PastTest]:
    rows: list[dict[str, Any]] = request.session.get(IN_SESSION, [])
    oldest = timezone.now() - KEPT_FOR
    return [test for test in (PastTest(**row) for row in rows) if test.tested_at > oldest]

"""Streams that tell open pages that their site has changed, so that they need not ask at intervals.

An event says only "ask again". The page then sends the request that it would otherwise send at intervals, and gets
what its person may see. Django answers who may open a stream, as it answers every page, and is asked again while it is
open.
"""

import asyncio
import random
from http import HTTPStatus
from typing import Final

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_GET

from api.events.refusal import Refusal
from api.http.bodies import Receive
from api.http.concurrency import LimitReachedError
from api.http.database import DatabaseDownError, once
from api.http.django_requests import LoopResponse, ask, list_headers
from api.http.endpoint import Scope, Send, database_unavailable
from api.http.event_streams import SILENCE_SECONDS, Protocol, Stream, Streams
from api.http.threads import look_up
from api.insight.messages import SETTLES
from api.insight.site_mark import Mark, read_marks
from api.models import Site
from api.pages.access import site_page

TURN_SECONDS: Final = 1.0
# A page asks for about 20 ms of a thread, so the pages of a process ask for half a core at most.
GAP_SECONDS: Final = 0.04
AGAIN_SECONDS: Final = SETTLES.total_seconds()  # after a change; no commit takes longer
ACCESS_SECONDS: Final = 30.0  # after one to two times that Django is asked again whether a person may have a stream
MOST_STREAMS: Final = 1_000  # of a process
MOST_OF_SITE: Final = 200
MOST_OF_PERSON: Final = 20  # at all sites
QUIET_SECONDS: Final = SILENCE_SECONDS
CHANGED: Final = b"data: changed\n\n"
QUIET: Final = b"event: quiet\ndata:\n\n"  # no comment, because scripts do not see comments


class WatchResponse(LoopResponse):
    """The permission of a person to watch a site, as a response whose body is a stream."""

    def __init__(self, site_id: int, user_id: int) -> None:
        super().__init__(content_type="text/event-stream")
        self.watched = (site_id, user_id)
        self.headers["X-Accel-Buffering"] = "no"  # nginx passes each event on at once
        patch_cache_control(self, no_transform=True)  # no proxy compresses it, and so holds events back

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves or the person may no longer watch. Raises Refusal (503)."""
        site_id, user_id = self.watched
        try:
            mark = (await look_up(read_marks, [site_id]))[site_id]
        except DatabaseDownError:
            raise database_unavailable() from None
        shares = {("site", site_id): MOST_OF_SITE, ("person", user_id): MOST_OF_PERSON}
        if streams().is_full(MOST_STREAMS, *shares.items()):
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "unavailable",
                "Too many live pages are open: yours, those of this site, or those of this server. This one asks for "
                "changes by itself instead.",
                (("Retry-After", "60"),),
            )
        stream = streams().open(site_id, tuple(shares), mark)
        silence = QUIET_SECONDS * random.uniform(0.7, 1)  # noqa: S311 - Django may be asked after each piece
        protocol = Protocol(lambda _: CHANGED, QUIET, silence, AccessOf(scope, self.watched).is_kept)
        headers = [header for header in list_headers(self) if header[0] != b"content-length"]
        await streams().run(stream, protocol, headers, receive, send)


class AccessOf:
    """The access of the person who opened a stream, as Django last granted it."""

    def __init__(self, scope: Scope, watched: tuple[int, int]) -> None:
        self._scope, self._watched = scope, watched
        self._granted_at = asyncio.get_running_loop().time()
        self._share = random.uniform(1, 2)  # noqa: S311 - otherwise streams opened at once ask at once

    async def is_kept(self, _: Stream[Mark]) -> bool:
        """Return False if the person has signed out or is no longer a member."""
        now = asyncio.get_running_loop().time()
        if now - self._granted_at < self._share * ACCESS_SECONDS:
            return True
        try:
            response = await ask(self._scope)
        except LimitReachedError:  # too many pages are asked for just now; a page that goes on polling adds to them
            return now - self._granted_at < 3 * ACCESS_SECONDS
        self._granted_at = now
        return isinstance(response, WatchResponse) and response.watched == self._watched


@once
def streams() -> Streams[Mark]:
    """Return the streams of pages of this process."""
    return Streams(read_marks, TURN_SECONDS, gap_seconds=GAP_SECONDS, again_after=AGAIN_SECONDS)


@site_page()
@require_GET
def watch_changes(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Open a stream of server-sent events: `changed` at once and when the page should ask again, `quiet` between."""
    # A page of another site could otherwise use up the places of a person who visits it.
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise PermissionDenied
    return WatchResponse(site.pk, request.user.pk or 0)

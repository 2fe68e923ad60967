"""Sentences about refused requests whose key opened nothing, for pages on which people wait for events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from api.http.refused_keys import SLOT, KeyProblem, slot_of
from api.http.wording import count_of
from api.models import Site

SPAN: Final = timedelta(hours=24)
RECENT: Final = 2 * SLOT  # at most: the slot before the present one is whole, the present one has just begun
MOST_HINTS: Final = 5
# Descriptions of a key that the site once had, and of one that no site has.
KNOWN: Final[Mapping[KeyProblem, str]] = {
    KeyProblem.WRITE_KEY: "a write key of this site that was revoked",
    KeyProblem.CREDENTIAL: "a credential of this site that was revoked, or a wrong secret of it",
    KeyProblem.SITECODE: "an API key of this site with a sitecode that it does not open",
    KeyProblem.SCOPE: "a credential of this site that may not do what was asked",
    KeyProblem.TOKEN: "a management token of this site that was revoked, is over or ended with its user",
}
UNKNOWN: Final[Mapping[KeyProblem, str]] = {
    KeyProblem.WRITE_KEY: "a write key that no site has",
    KeyProblem.CREDENTIAL: "a client id that no site has",
    KeyProblem.SITECODE: "an API key with a sitecode that it does not open",
    KeyProblem.SCOPE: "a credential that may not do what was asked",
    KeyProblem.TOKEN: "a management token that no site has",
    KeyProblem.NO_KEY: "no key, or none that could be read",
}


ADVICE: Final[Mapping[KeyProblem, str]] = {
    KeyProblem.WRITE_KEY: "If one of your senders is meant, give it a write key of its source.",
    KeyProblem.CREDENTIAL: "If one of your senders is meant, give it the API key of a credential of this site.",
    KeyProblem.SITECODE: "Give the sender the sitecode of a site that its credential opens.",
    KeyProblem.SCOPE: "If one of your senders or programs is meant, give it a credential that may do what it does.",
    KeyProblem.TOKEN: "If one of your programs is meant, an owner makes it a new token or takes over the old one.",
    KeyProblem.NO_KEY: "If one of your senders is meant, give it the key that the set-up guide shows.",
}


REFUSED: Final = """
    SELECT reason, is_of_site, sum(count)::bigint AS count, max(last_at) AS last_at,
           coalesce(sum(count) FILTER (WHERE hour >= %(recent)s), 0)::bigint AS recent,
           (array_agg(DISTINCT hint) FILTER (WHERE hint <> ''))[:%(most_hints)s] AS hints
      FROM (SELECT true AS is_of_site, * FROM api_refusedkey
             WHERE site_id = %(site)s AND hour >= %(since)s
             UNION ALL
            SELECT false, * FROM api_refusedkey
             WHERE site_id IS NULL AND hour >= %(since)s) AS refused
     GROUP BY 1, 2
     ORDER BY 2 DESC, 3 DESC
"""


@dataclass(frozen=True, slots=True)
class RefusedRequests:
    """Count of the requests of a day that were refused for the same reason."""

    reason: KeyProblem
    is_of_site: bool  # otherwise of any sender of this installation
    count: int
    last_at: datetime
    recent: int  # of them, in the last ten minutes
    hints: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Return a sentence about what happened, what it means and what to do."""
        requests = count_of(self.count, "request")
        where = "" if self.is_of_site else " to this Goalpost"
        shown = (KNOWN if self.is_of_site else UNKNOWN)[self.reason]
        hints = f" ({', '.join(map(spell_hint, self.hints))})" if self.hints else ""
        recent = f", {self.recent:,} of them in the last {RECENT.seconds // 60} minutes," if self.recent else ""
        return (
            f"{requests}{where} in 24 hours{recent} showed {shown}{hints}; "
            f"the last on {self.last_at:%Y-%m-%d %H:%M:%S} UTC. "
            f"Nothing of {'it' if self.count == 1 else 'them'} was stored. {ADVICE[self.reason]}"
        )


def spell_hint(hint: str) -> str:
    """Return the beginning and end of a key in quotes; an earlier version kept the beginning alone."""
    return f"“{hint}”" if "…" in hint else f"“{hint}…”"


def find_refused_requests(site: Site, *, now: datetime) -> list[RefusedRequests]:
    """Return the requests refused in the last day, those with keys of the site first. One query of few rows."""
    with connection.cursor() as cursor:
        parameters: dict[str, Any] = {
            "site": site.pk,
            "since": now - SPAN,
            "recent": slot_of(now - SLOT),
            "most_hints": MOST_HINTS,
        }
        cursor.execute(REFUSED, parameters)
        return [
            RefusedRequests(KeyProblem(reason), is_of_site, count, last_at, recent, tuple(hints or ()))
            for reason, is_of_site, count, last_at, recent, hints in cursor.fetchall()
        ]

"""All laws on one snapshot: a database may be verified while everybody works on it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from django.db import connection, transaction

from api.checks import laws
from api.checks.base import Figures, Law
from api.checks.figures import check_figures
from api.checks.recount import recount

MOST_EXAMPLES: Final = 20  # rows that are named of a kind

LAWS: Final = (
    Law("claims", "{claims} in hand", laws.check_claims),  # first: locks are of this moment, not of the snapshot
    Law(
        "inbox",
        "{messages} messages = "
        "{done} done + {deferred} deferred + {rejected} rejected + {failed} failed + {pending} pending",
        laws.check_inbox,
    ),
    Law("queue", "{deferred} deferred messages, {names} names in the queue, {ready} of them ready", laws.check_queue),
    Law(
        "conversions",
        "{conversions} conversions = {converted} messages converted - {deleted} with goals deleted since "
        "- {untold} of an earlier version + {pruned} of messages pruned since + {resent} of these sent again",
        laws.check_conversions,
    ),
    Law(
        "people",
        "{identities} identities; {linked} conversions by a link, {unmatched} unmatched, {to_rekey} rows to re-key; "
        "{late} late links not done",
        laws.check_people,
    ),
    Law(
        "recount",
        "{recounted} messages derived again, {former} of them under an earlier reading; {earlier} under earlier rules "
        "left out",
        recount,
    ),
    Law(
        "figures",
        "{kept_visitors} figures of visitors, {kept_days} of days, {kept_goals} of goals",
        check_figures,
    ),
    Law("quota", "{made} goals made by events, {creations} creations in the ledger", laws.check_quota),
)


@dataclass(slots=True)
class Found:
    """The rows of one meaning: how many, and some of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one law."""

    law: str
    line: str
    found: dict[str, Found]  # by meaning; none when the law holds


def verify(site_id: int | None = None) -> Iterator[Report]:
    """Check every law, for one site or for all; a report of each as it is done.

    Everything is read in one transaction that writes nothing and sees one moment. It keeps vacuum from what is
    deleted meanwhile. Some ten scans of the tables, and five queries for every 500 messages.
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for law in LAWS:
            yield check(law, site_id)


def check(law: Law, site_id: int | None) -> Report:
    """Look for what contradicts one law. Inside a transaction."""
    figures, found = Figures(), dict[str, Found]()
    for difference in law.find(site_id, figures):
        kind = found.setdefault(difference.meaning, Found())
        kind.count += 1
        if len(kind.examples) < MOST_EXAMPLES:
            kind.examples.append(difference.row)
    return Report(law.name, law.line.format_map(figures), found)

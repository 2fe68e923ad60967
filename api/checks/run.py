"""All laws on one snapshot: a database may be verified while everybody works on it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from django.db import connection, transaction

from api.checks import laws
from api.checks.base import Check, Figures
from api.checks.figures import check_figures
from api.checks.recount import recount

MOST_EXAMPLES: Final = 20  # rows that are named of a kind

CHECKS: Final = (
    Check("claims", "{claims} in hand", laws.check_claims),  # first: locks are of this moment, not of the snapshot
    Check(
        "inbox",
        "{messages} messages = "
        "{done} done + {deferred} deferred + {rejected} rejected + {failed} failed + {pending} pending",
        laws.check_inbox,
    ),
    Check("queue", "{deferred} deferred messages, {names} names in the queue, {ready} of them ready", laws.check_queue),
    Check(
        "conversions",
        "{conversions} conversions = {converted} messages converted - {deleted} with goals deleted since "
        "- {untold} of an earlier version + {pruned} of messages pruned since + {resent} of these sent again",
        laws.check_conversions,
    ),
    Check(
        "people",
        "{identities} identities; {linked} conversions by a link, {unmatched} unmatched, {to_rekey} rows to re-key; "
        "{late} late links not done",
        laws.check_people,
    ),
    Check(
        "recount",
        "{recounted} messages derived again, {former} of them under an earlier reading; {earlier} under earlier rules "
        "left out",
        recount,
    ),
    Check(
        "figures",
        "{kept_visitors} figures of visitors, {kept_days} of days, {kept_goals} of goals",
        check_figures,
    ),
    Check("quota", "{made} goals made by events, {creations} creations in the ledger", laws.check_quota),
)


@dataclass(slots=True)
class Contradiction:
    """The rows of one meaning: how many, and some of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What became of one check."""

    check: str
    line: str
    found: dict[str, Contradiction]  # by meaning; none when the law holds


def verify(site_id: int | None = None) -> Iterator[CheckReport]:
    """Check every law, for one site or for all; a report of each as it is done.

    Everything is read in one transaction that writes nothing and sees one moment. It keeps vacuum from what is
    deleted meanwhile. Some ten scans of the tables, and five queries for every 500 messages.
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for check in CHECKS:
            yield run_check(check, site_id)


def run_check(check: Check, site_id: int | None) -> CheckReport:
    """Collect what contradicts one check. Call it inside a transaction."""
    figures, found = Figures(), dict[str, Contradiction]()
    for difference in check.run(site_id, figures):
        kind = found.setdefault(difference.meaning, Contradiction())
        kind.count += 1
        if len(kind.examples) < MOST_EXAMPLES:
            kind.examples.append(difference.row)
    return CheckReport(check.name, check.line.format_map(figures), found)

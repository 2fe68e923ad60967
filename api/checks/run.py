"""Every check on one snapshot, so that a database can be verified while it is in use."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from django.db import connection, transaction

from api.checks.base import Check, Counts
from api.checks.claims import check_claims
from api.checks.conversions import check_conversions
from api.checks.exposures import check_exposures
from api.checks.figures import check_figures
from api.checks.inbox import check_inbox
from api.checks.people import check_people
from api.checks.queue import check_queue
from api.checks.quota import check_quota
from api.checks.recount import check_recount
from api.checks.segments import check_segments

MOST_EXAMPLES: Final = 20  # rows named for each meaning

CHECKS: Final = (
    Check("claims", "{claims} claims", check_claims),  # first, because locks are read now, not from the snapshot
    Check(
        "inbox",
        "{messages} messages = "
        "{done} done + {deferred} deferred + {rejected} rejected + {failed} failed + {pending} pending",
        check_inbox,
    ),
    Check("queue", "{deferred} deferred messages, {names} names in the queue, {ready} of them ready", check_queue),
    Check(
        "conversions",
        "{conversions} conversions = {converted} messages converted - {deleted} with goals deleted since "
        "- {unrecorded} of an earlier version + {pruned} of messages pruned since + {resent} of these sent again",
        check_conversions,
    ),
    Check(
        "people",
        "{identities} identities; {linked} conversions by a link, {unmatched} unmatched, {to_rekey} rows to re-key; "
        "{late} late links not done",
        check_people,
    ),
    Check(
        "recount",
        "{recounted} messages derived again, {former} of them under an earlier reading; {earlier} under earlier rules "
        "left out",
        check_recount,
    ),
    Check(
        "figures",
        "{kept_visitors} figures of visitors, {kept_days} of days, {kept_goals} of goals",
        check_figures,
    ),
    Check("exposures", "{exposures} exposures of {experiments} experiments", check_exposures),
    Check("segments", "{segments} segments, {memberships} memberships", check_segments),
    Check("quota", "{made} goals made by events, {creations} creations in the ledger", check_quota),
)


@dataclass(slots=True)
class Contradiction:
    """Rows that contradict a check in the same way: their number, and some of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Result of one check."""

    check: str
    line: str
    found: dict[str, Contradiction]  # by meaning; empty if nothing contradicts the check


def verify(site_id: int | None = None) -> Iterator[CheckReport]:
    """Run every check, for one site or for all, and yield its report when it is done.

    One read-only transaction sees one moment. Meanwhile vacuum cannot remove rows that are deleted. Some ten scans of
    the tables, and five queries for every 500 messages.
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for check in CHECKS:
            yield run_check(check, site_id)


def run_check(check: Check, site_id: int | None) -> CheckReport:
    """Collect what contradicts one check. Call it inside a transaction."""
    counts, found = Counts(), dict[str, Contradiction]()
    for difference in check.run(site_id, counts):
        kind = found.setdefault(difference.meaning, Contradiction())
        kind.count += 1
        if len(kind.examples) < MOST_EXAMPLES:
            kind.examples.append(difference.row)
    return CheckReport(check.name, check.line.format_map(counts), found)

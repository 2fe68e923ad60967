"""Ledger that compares what was sent with its effects."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from tests.chaos.events import PRIVATE, collect_ids, goal_name
from tests.chaos.sender import Sender
from tests.chaos.stack import Site, Stack

MESSAGE_IDS = "SELECT message_id FROM api_message WHERE site_id = %(s)s"
STATUSES = "SELECT status, count(*) FROM api_message WHERE site_id = %(s)s GROUP BY status"
CONVERSIONS = """
SELECT g.name, c.message_key, c.visitor_code, c.keyed_by, c.user_id, c.anonymous_id, c.occurred_at, c.revenue,
       c.currency, c.value, c.properties::text
  FROM goals_conversion c JOIN goals_goal g ON g.id = c.goal_id WHERE c.site_id = %(s)s
"""
PEOPLE = """
SELECT kind::text, value, registers::text, parent_kind, parent_value FROM cohorts_identity WHERE site_id = %(s)s
 UNION ALL
SELECT 'group', group_id, registers::text, NULL, NULL FROM cohorts_group WHERE site_id = %(s)s
"""
# Maximum number of goals that events created within any 10 seconds.
BUSIEST_10_SECONDS = """
SELECT coalesce(max(made), 0) FROM (
    SELECT count(*) OVER (ORDER BY created_at RANGE BETWEEN '9.999999 s' PRECEDING AND CURRENT ROW) AS made
      FROM goals_goalcreation WHERE site_id = %(s)s
) AS spans
"""


@dataclass
class Ledger:
    """A table of figures. A figure with a required value is a difference if it has another one."""

    title: str
    rows: list[tuple[str, str]] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def note(self, name: str, value: object) -> None:
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.1f}" if isinstance(value, float) else str(value)
        self.rows.append((name, shown))

    def require(self, name: str, value: object, expected: object) -> None:
        """Note a figure that must equal `expected`."""
        self.note(name, value)
        if value != expected:
            self.differences.append(f"{name} is {value}, not {expected}")

    def require_true(self, claim: str, *, holds: bool) -> None:
        """Note a claim that must be true."""
        self.require(claim, "yes" if holds else "no", "yes")

    def __str__(self) -> str:
        rows = [*self.rows, ("differences", str(len(self.differences)))]
        table = [f"  {name:48} {value:>10}" for name, value in rows]
        return "\n".join([self.title, *table, *(f"  ! {difference}" for difference in self.differences)])


def book_answers(ledger: Ledger, sender: Sender) -> None:
    """Note the answers that the sender received."""
    ledger.note("events", len(sender.events))
    ledger.note("sent", len(sender.answers))
    for kind in ("2xx", "429", "503"):
        ledger.note(f"answered {kind}", sender.answers.count(kind))
    ledger.require("answered otherwise", dict(sender.others) or 0, 0)
    ledger.note("no answer", sender.answers.count("none"))
    ledger.require("given up", len(sender.given_up), 0)
    ledger.require("called new more than once", sum(count > 1 for count in sender.accepted.values()), 0)


class Database(Protocol):
    """Source of rows, read by SQL statements."""

    def fetch(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]: ...


def book_effects(ledger: Ledger, stack: Database, sender: Sender, *, failed: int = 0) -> None:
    """Require that each sent message was stored, digested and counted once, except `failed` ones."""
    site, events = sender.site, list(sender.events.values())
    stored = Counter(
        row[0] for row in stack.fetch("SELECT message_id FROM api_message WHERE site_id = %(s)s", s=site.id)
    )
    ledger.require("stored", stored.total(), len(events))
    ledger.require("stored twice, never, or unsent", sum(stored[id_] != 1 for id_ in {*stored, *sender.events}), 0)
    statuses = dict(stack.fetch(STATUSES, s=site.id))
    ledger.require("digested: done", statuses.pop("done", 0), len(events) - failed)
    ledger.require("digested: failed", statuses.pop("failed", 0), failed)
    ledger.require("digested: otherwise, or not yet", sum(statuses.values()), 0)
    hits = Counter(name for name in map(goal_name, events) if name)
    counted = Counter(row[0] for row in stack.fetch(CONVERSIONS, s=site.id))
    ledger.require("goals", len(counted), len(hits))
    ledger.require("counted (conversions)", counted.total(), hits.total())
    ledger.require("goals with another count", sum(hits[name] != counted[name] for name in {*hits, *counted}), 0)


def book_reference(ledger: Ledger, stack: Stack, sender: Sender, reference: Sender) -> None:
    """Require that two sites with the same events have equal conversions, people and remote data."""
    for name, sql in (("conversions", CONVERSIONS), ("people and groups", PEOPLE)):
        rows, expected = (set(stack.fetch(sql, s=site.id)) for site in (sender.site, reference.site))
        ledger.require(f"{name} unlike the reference", len(rows ^ expected), 0)
    ids = collect_ids(sender.events.values())
    served, right = (read_documents(side.site, ids, side.ports[0]) for side in (sender, reference))
    ledger.note("remote data documents, not empty", sum(map(bool, right.values())))
    ledger.require("remote data documents equal", sum(served[key] == right[key] for key in right), len(right))


def read_documents(site: Site, ids: Sequence[str], port: int) -> Mapping[str, Any]:
    """Return the remote data under every key of these ids."""
    keys = [f"{prefix}{id_}" for id_ in ids for prefix in ("IDENTIFY_", "COHORTS_")] + ["common"]
    documents: dict[str, Any] = {}
    headers = {"authorization": site.authorization}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False) as client:
        for start in range(0, len(keys), 100):
            asked = {"siteCode": site.sitecode, "keys": json.dumps(keys[start : start + 100])}
            documents |= client.get("/map/maps", params=asked).raise_for_status().json()
    return documents


def book_incidents(ledger: Ledger, stack: Stack) -> None:
    """Require that no deadlock, crash or leak of private data happened."""
    ledger.require("deadlocks", stack.count_deadlocks(), 0)
    ledger.require("processes that ended unexpectedly", stack.find_crashed() or 0, 0)
    password = urlsplit(stack.servers.environment["REDIS_URL"]).password or ""
    for name, text in (("personal data", PRIVATE), ("the broker's password", password)):
        ledger.require(f"logs with {name}", stack.logs_with(text) or 0, 0)

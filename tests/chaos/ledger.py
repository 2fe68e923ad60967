"""What was sent, what became of it, and where the two differ."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from tests.chaos.events import PRIVATE, goal_name, ids_of
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
# The most goals that events made within any span of 10 seconds.
BUSIEST_10_SECONDS = """
SELECT coalesce(max(made), 0) FROM (
    SELECT count(*) OVER (ORDER BY created_at RANGE BETWEEN '9.999999 s' PRECEDING AND CURRENT ROW) AS made
      FROM goals_goalcreation WHERE site_id = %(s)s
) AS spans
"""


@dataclass
class Ledger:
    """A table of figures; some must have a certain value, and differ if they don't."""

    title: str
    rows: list[tuple[str, str]] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def note(self, name: str, value: object) -> None:
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.1f}" if isinstance(value, float) else str(value)
        self.rows.append((name, shown))

    def must(self, name: str, value: object, wanted: object) -> None:
        """A figure that has to be as wanted."""
        self.note(name, value)
        if value != wanted:
            self.differences.append(f"{name} is {value}, not {wanted}")

    def must_hold(self, claim: str, *, holds: bool) -> None:
        """Note a claim, which has to be true."""
        self.must(claim, "yes" if holds else "no", "yes")

    def __str__(self) -> str:
        rows = [*self.rows, ("differences", str(len(self.differences)))]
        table = [f"  {name:48} {value:>10}" for name, value in rows]
        return "\n".join([self.title, *table, *(f"  ! {each}" for each in self.differences)])


def book_answers(ledger: Ledger, sender: Sender) -> None:
    """What the sender saw."""
    ledger.note("events", len(sender.events))
    ledger.note("sent", len(sender.answers))
    for kind in ("2xx", "429", "503"):
        ledger.note(f"answered {kind}", sender.answers.count(kind))
    ledger.must("answered otherwise", dict(sender.others) or 0, 0)
    ledger.note("no answer", sender.answers.count("none"))
    ledger.must("given up", len(sender.given_up), 0)
    ledger.must("called new more than once", sum(count > 1 for count in sender.accepted.values()), 0)


class Database(Protocol):
    """Questions to the database, in SQL."""

    def fetch(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]: ...


def book_effects(ledger: Ledger, stack: Database, sender: Sender, *, dead: int = 0) -> None:
    """What the service has of what was sent: each message stored, digested and counted once, but for those `dead`."""
    site, events = sender.site, list(sender.events.values())
    stored = Counter(
        row[0] for row in stack.fetch("SELECT message_id FROM api_message WHERE site_id = %(s)s", s=site.id)
    )
    ledger.must("stored", stored.total(), len(events))
    ledger.must("stored twice, never, or unsent", sum(stored[id_] != 1 for id_ in {*stored, *sender.events}), 0)
    statuses = dict(stack.fetch(STATUSES, s=site.id))
    ledger.must("digested: done", statuses.pop("done", 0), len(events) - dead)
    ledger.must("digested: dead", statuses.pop("dead", 0), dead)
    ledger.must("digested: otherwise, or not yet", sum(statuses.values()), 0)
    wanted = Counter(name for name in map(goal_name, events) if name)
    counted = Counter(row[0] for row in stack.fetch(CONVERSIONS, s=site.id))
    ledger.must("goals", len(counted), len(wanted))
    ledger.must("counted (conversions)", counted.total(), wanted.total())
    ledger.must("goals with another count", sum(wanted[name] != counted[name] for name in {*wanted, *counted}), 0)


def book_reference(ledger: Ledger, stack: Stack, sender: Sender, reference: Sender) -> None:
    """Two sites that were told the same, side by side: conversions, people, and what readers are served."""
    for name, sql in (("conversions", CONVERSIONS), ("people and groups", PEOPLE)):
        ours, theirs = (set(stack.fetch(sql, s=each.site.id)) for each in (sender, reference))
        ledger.must(f"{name} unlike the reference", len(ours ^ theirs), 0)
    ids = ids_of(sender.events.values())
    served, wanted = (read_documents(each.site, ids, each.ports[0]) for each in (sender, reference))
    ledger.note("remote data documents, not empty", sum(map(bool, wanted.values())))
    ledger.must("remote data documents equal", sum(served[key] == wanted[key] for key in wanted), len(wanted))


def read_documents(site: Site, ids: Sequence[str], port: int) -> Mapping[str, Any]:
    """The remote data under every key of these ids."""
    keys = [f"{prefix}{id_}" for id_ in ids for prefix in ("IDENTIFY_", "COHORTS_")] + ["common"]
    documents: dict[str, Any] = {}
    headers = {"authorization": site.authorization}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False) as client:
        for start in range(0, len(keys), 100):
            asked = {"siteCode": site.sitecode, "keys": json.dumps(keys[start : start + 100])}
            documents |= client.get("/map/maps", params=asked).raise_for_status().json()
    return documents


def book_calm(ledger: Ledger, stack: Stack) -> None:
    """What nothing excuses."""
    ledger.must("deadlocks", stack.count_deadlocks(), 0)
    ledger.must("processes that fell by themselves", stack.fallen() or 0, 0)
    password = urlsplit(stack.servers.environment["REDIS_URL"]).password or ""
    for name, text in (("personal data", PRIVATE), ("the broker's password", password)):
        ledger.must(f"logs with {name}", stack.logs_with(text) or 0, 0)

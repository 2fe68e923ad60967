"""Seeder that fills a site with rows of every kind, for trying out and measuring its pages.

    python -m tests.bench.seed                                              # small, to look at
    python -m tests.bench.seed --goals 10000 --conversions 1000000 --messages 1000000

It fills the database of DATABASE_URL, which must be migrated and without goals, or a new one below `--data-dir`.
`GOALPOST_DATA_DIR=... manage.py up` starts the latter afterwards. The same `--number` gives the same rows with the same
ages. `manage.py verify` accepts the result.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import psycopg

from api.runtime.embedded import servers
from api.runtime.processes import claim
from tests.bench.names import PERSONAS, PLANS, TAGS, NamedEvent, events

if TYPE_CHECKING:
    from api.models import Annotation, Site
    from goals.models import Goal

ROOT = Path(__file__).resolve().parents[2]
MESSAGE_DAYS, CONVERSION_DAYS = 20, 90
FILLED = (
    *(
        "api_message",
        "api_messagebody",
        "api_sourcetally",
        "cohorts_identity",
        "goals_goal",
        "goals_goal_tags",
        "goals_conversion",
    ),
    *("goals_conversion", "goals_goalvisitor", "goals_goalday", "goals_goaltotal", "goals_goalcreation"),
)
SEEDED_GOAL = """
CREATE TEMPORARY TABLE seeded_goal (place int PRIMARY KEY, goal_id bigint, goal_name text, type text, name text)
"""
NOISE = "Heartbeat"  # event that the site's rule ignores


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--goals", type=int, default=60)
    options.add_argument("--conversions", type=int, default=4_000)
    options.add_argument("--messages", type=int, default=3_000)
    options.add_argument("--number", type=int, default=1, help="of the seed")
    options.add_argument("--data-dir", type=Path, default=Path(tempfile.gettempdir()) / "goalpost-seed")
    given = options.parse_args()
    with database(given.data_dir):
        from api.models import Site

        begun = time.monotonic()
        site = Site.objects.order_by("pk")[0]
        seed(site, goals=given.goals, conversions=given.conversions, messages=given.messages, number=given.number)
        print(f"site {site.sitecode} filled in {time.monotonic() - begun:.0f} s")


@contextmanager
def database(data_dir: Path) -> Iterator[None]:
    """Run the database of a directory during the block, migrated and with its first site; or use DATABASE_URL."""
    if "DATABASE_URL" in os.environ:
        prepare()
        yield
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    with claim(data_dir) as lock, servers(data_dir, lock=lock) as running:
        os.environ |= {**running.environment, "GOALPOST_DATA_DIR": str(data_dir)}
        prepare()
        yield


def prepare() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api.settings")
    subprocess.run([sys.executable, "manage.py", "prepare"], check=True, cwd=ROOT)
    django.setup()


def seed(site: "Site", *, goals: int, conversions: int, messages: int, number: int = 1) -> None:
    """Fill a site without goals through Django's connection, and digest the story of one person.

    Nine of ten messages convert. The remaining `conversions` are older than any message. A million of both takes
    about 100 s.
    """
    from django.core.management import call_command
    from django.db import connection, transaction

    from api.models.message_rows import key_of
    from goals.models import Goal

    if Goal.objects.filter(site=site).exists():
        raise SystemExit("This site has goals already: take an empty one.")
    now, people = datetime.now(UTC), max(messages // 10, 60)
    parameters: dict[str, Any] = {
        "site": site.pk,
        "seed": number * 100,
        "goals": goals,
        "people": people,
        "groups": max(people // 20, 5),
        "messages": messages,
        "conversions": conversions,
        "waiting": max(goals // 20, 3),
        "personas": [*PERSONAS, *(f"audience_{number}" for number in range(goals // 100))],
        "plans": list(PLANS),
        "message_days": MESSAGE_DAYS,
        "conversion_days": CONVERSION_DAYS,
        "now": now,
        "noise": NOISE,
    }
    parameters["sources"] = equip(site)
    connection.ensure_connection()
    # This cursor inserts the parameters on the client, because PostgreSQL cannot prepare several statements at once.
    with transaction.atomic(), psycopg.ClientCursor(connection.connection) as cursor:
        make_goals(site, events(goals, number=number), waiting=parameters["waiting"], now=now, cursor=cursor)
        sql = (ROOT / "tests/bench/seed.sql").read_text()
        cursor.execute(sql.replace(":key", key_of("type", "message_id")), parameters)
        call_command("recount", site=site.sitecode)
    with connection.cursor() as cursor:  # the state in which autovacuum leaves growing tables
        cursor.execute(f"VACUUM ANALYZE {', '.join(FILLED)}")
    tell_story(site)
    make_segments(site)


def equip(site: "Site") -> list[int]:
    """Create the site's sources and return their ids: destination, server, browser and a disabled one."""
    from api.alerts import outbox
    from api.ingest import provisioning
    from api.models import Alert, AlertDelivery, DuplicateSources, Rule, Source
    from cohorts.models import CustomData
    from goals.flags.models import FeatureFlag

    site.name = "Demo shop"
    site.save(update_fields=["name"])
    destination = site.sources.get(kind=Source.Kind.DESTINATION)
    server, browser, off = (
        provisioning.create_source(site, name=name, kind=kind)
        for name, kind in (("Shop server", "server"), ("Web shop", "browser"), ("Old import", "import"))
    )
    provisioning.change_source(off, fields={"is_enabled": False}, now=datetime.now(UTC))
    for number in range(6):
        name, now = f"Lag {number}", datetime.now(UTC)
        alert = Alert.objects.create(
            site=site, name=name, condition="lag", threshold=5, webhook_url="https://a.invalid/"
        )
        for _ in range(10):
            outbox.enqueue(alert, "fired", "It waits.", since=now, now=now)
    AlertDelivery.objects.filter(site=site).update(outcome="sent", attempts=1)
    Rule.objects.create(
        site=site, name="Noise", name_test="equals", name_value=NOISE, action=Rule.Action.DROP, argument="noise"
    )
    DuplicateSources.objects.create(
        site=site, one=server, other=browser, event_name="Order Completed", count=12, last_seen_at=datetime.now(UTC)
    )
    provisioning.create_credential([site], name="Reports")
    CustomData.objects.create(site=site, index=1, name="plan")
    annotate(site)
    FeatureFlag.objects.create(site=site, key="checkout", document={"featureKey": "checkout", "rules": []})
    return [destination.pk, server.pk, browser.pk, off.pk]


def annotate(site: "Site") -> "Annotation":
    from api.models import Annotation

    return Annotation.objects.create(site=site, at=datetime.now(UTC) - timedelta(days=3), text="Release 2", who="ada")


def make_goals(site: "Site", named: list[NamedEvent], *, waiting: int, now: datetime, cursor: Any) -> None:
    """Create goals in the order of their size, tagged, some archived or merged; use up the quota; queue names.

    The temporary table `seeded_goal` holds the event of each goal. Waiting names have places below 0.
    """
    from goals.models import Goal, GoalCreation, WaitingName
    from goals.naming import name_goal

    newest = max(min(len(named) // 10, 1_000), 10)  # goals of the last hour; they use up the quota
    site.goals_per_hour = newest
    site.save(update_fields=["goals_per_hour"])
    ages = [
        timedelta(minutes=50) * place / newest
        if place < newest
        else timedelta(hours=2) + timedelta(days=CONVERSION_DAYS) * place / len(named)
        for place in reversed(range(len(named)))
    ]
    goals = [build_goal(site, place, event, now) for place, event in enumerate(named)]
    Goal.objects.bulk_create(goals, batch_size=2_000)
    GoalCreation.objects.bulk_create(
        [
            GoalCreation(site=site, created_at=now - age)
            for goal, age in zip(goals, ages, strict=True)
            if goal.origin == Goal.Origin.EVENT
        ],
        batch_size=5_000,
    )
    add_bindings_and_tags(site, goals, named)
    names = [NamedEvent("track", f"Viewed order {500_000 + number}") for number in range(waiting)]
    WaitingName.objects.bulk_create(
        WaitingName(site=site, name=name_goal("track", event.name), event_type="track", event_name=event.name)
        for event in names
    )
    cursor.execute(SEEDED_GOAL)
    with cursor.copy("COPY seeded_goal FROM STDIN") as copy:
        for place, (goal, event) in enumerate(zip(goals, named, strict=True)):
            copy.write_row((place, goal.pk, goal.name, event.type, event.name))
        for place, event in enumerate(names, start=1):
            copy.write_row((-place, None, name_goal(event.type, event.name), event.type, event.name))
    cursor.executemany(
        "UPDATE goals_goal SET created_at = %s WHERE id = %s",
        [(now - age, goal.pk) for goal, age in zip(goals, ages, strict=True)],
    )
    # The two largest merged into the third, and one in a hundred of the others into the one before it.
    merged = [(0, 2), (1, 2), *((place, place - 1) for place in range(50, len(named), 100))]
    cursor.executemany(
        "UPDATE goals_goal SET merged_into_id = %s, counts_for_id = %s WHERE id = %s",
        [(goals[into].pk, goals[into].pk, goals[place].pk) for place, into in merged],
    )


def build_goal(site: "Site", place: int, event: NamedEvent, now: datetime) -> "Goal":
    """Return an unsaved goal for an event; some are made by a person, some archived."""
    from goals.models import Goal
    from goals.naming import name_goal

    is_by_hand = place % 12 == 11
    return Goal(
        site=site,
        name=event.name if is_by_hand else name_goal(event.type, event.name, template=site.goal_name_template),
        type=Goal.Type.PAGE_VIEWS if event.type == "page" else Goal.Type.CUSTOM,
        description="What the team of growth looks at every Monday." if place % 9 == 0 else "",
        has_multiple_conversions=place % 3 == 0,
        origin=Goal.Origin.PERSON if is_by_hand else Goal.Origin.EVENT,
        is_named_by_event=not is_by_hand,
        archived_at=now - timedelta(days=3) if place % 50 == 40 else None,
    )


def add_bindings_and_tags(site: "Site", goals: "list[Goal]", named: list[NamedEvent]) -> None:
    """Bind an old name to one goal in 25, and give each goal up to four tags."""
    from goals.models import Goal, GoalBinding, GoalTag, Tag

    GoalBinding.objects.bulk_create(
        GoalBinding(site=site, event_type="track", event_name=f"{event.name[:400]} (old)", goal=goal)
        for event, goal in zip(named[3::25], goals[3::25], strict=True)
    )
    teams = [f"team {number}" for number in range(len(named) // 200)]
    tags = [Tag(site=site, name=name) for name in (site.auto_tag, *TAGS, *teams)]
    Tag.objects.bulk_create(tags)
    GoalTag.objects.bulk_create(
        [
            GoalTag(site=site, goal_id=goal.pk, tag_id=tags[number].pk)
            for place, goal in enumerate(goals)
            for number in sorted(
                ({0} if goal.origin == Goal.Origin.EVENT else set())
                | {(place * step) % len(tags) for step in (1, 3, 7)[: place % 4]}
            )
        ],
        batch_size=5_000,
    )


def track(name: str, **properties: Any) -> dict[str, Any]:
    return {"type": "track", "event": name, "properties": properties}


def tell_story(site: "Site") -> None:
    """Digest the story of one person who has everything, as the newest messages of the site."""
    from api.digest import run
    from api.digest.claims import Claims
    from api.events.envelope import read_event
    from api.http.database import connect
    from api.ingest.inbox import insert
    from api.ingest.new_message import NewMessage
    from api.models import Source

    now = datetime.now(UTC)
    ada = {"userId": "ada-king", "anonymousId": "3b1f6f4e-ada0-4b0e-9d5e-000000000001"}
    traits = {"plan": "business", "username": "lovelace", "email": "ada@example.com", "age": 36, "city": "London"}
    story: list[dict[str, Any]] = [
        {"type": "page", "anonymousId": ada["anonymousId"], "name": "Pricing"},
        {"type": "identify", **ada, "traits": {**traits, "plan": "free"}},
        {**track("Kameleoon identifier", kameleoonVisitorCode="adavisitor000001"), **ada},
        {"type": "group", "userId": ada["userId"], "groupId": "analytical-engines", "traits": {"tier": "gold"}},
        {"type": "alias", "userId": ada["userId"], "previousId": "ada-byron"},
        {**track("Audience Entered", audience_key="vip", vip=True), **ada},
        {**track("Audience Entered", audience_key="trial_ended", trial_ended=True), **ada},
        {**track("Audience Exited", audience_key="trial_ended", trial_ended=False), **ada},
        {**track("Added to Cart", sku="difference-engine-2", size="XL"), **ada},
        {**track("Order Completed", revenue=1843.5, currency="GBP"), **ada},
        {"type": "identify", **ada, "traits": traits},
    ]
    source = site.sources.get(kind=Source.Kind.SERVER)
    with connect() as inbox:
        for position, event in enumerate(story):
            at = now - timedelta(minutes=len(story) - position)
            body = {**event, "messageId": f"ada-{position}", "timestamp": at.isoformat()}
            raw = json.dumps(body, ensure_ascii=False).encode()
            insert(inbox, [NewMessage(site.pk, source.pk, read_event(raw, position=0, received_at=at))])
    claims = Claims()
    run.digest_all(claims, seconds=30)
    claims.close()


def make_segments(site: "Site") -> None:
    """Create segments, one of which names the other, and find their members."""
    from api.digest import segments
    from cohorts.segment_tables import Segment

    text = {"type": "text", "texts": ["business", "enterprise"]}
    paying = Segment.objects.create(
        site=site,
        name="Paying customers",
        description="People on a plan that costs money.",
        conditions=[[{"on": "trait", "path": ["plan"], "test": text}, {"on": "persona", "name": "vip"}]],
    )
    recent = {"on": "seen", "which": "last", "test": {"type": "date", "how": "within", "days": 7}}
    Segment.objects.create(
        site=site,
        name="Paying, not active",
        conditions=[[{"on": "segment", "segment": paying.pk}], [{**recent, "negated": True}]],
    )
    Segment.objects.filter(site=site).update(created_at=datetime.now(UTC) - timedelta(days=1))  # workers know of them
    segments.forget_lookups()
    segments.run_upkeep(clock=lambda: datetime.now(UTC), until=time.monotonic() + 60)


if __name__ == "__main__":
    main()

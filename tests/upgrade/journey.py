"""Command that upgrades the older version's rows and prints the results as JSON: `python -m tests.upgrade.journey`.

DATABASE_URL must lead to an empty database. `test_before.py` runs the command and checks the results.
"""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, Final

import django
import httpx
from django.core.management import call_command

FIXTURE: Final = Path(__file__).resolve().parents[1] / "fixtures" / "before"
ROUNDS: Final = 30  # of the queue of new goals; the ledger ages a day in each


def upgrade() -> dict[str, Any]:
    """Upgrade, go back and forth, digest, re-key, replay, erase and remove. Return the results of each step."""
    from tests.upgrade import rows  # needs the settings
    from tests.upgrade.snapshot import take_snapshot

    before = json.loads((FIXTURE / "seen.json").read_text())
    results: dict[str, Any] = {"differences": {}}
    migrate(before["migrations"])
    with closing(connect()) as connection:
        rows.load(connection, FIXTURE)
        migrate()
        verify_into(results, "upgraded")
        results["upgraded"] = take_snapshot(connection, ask)
        results["tokens"] = open_tokens()

        migrate(before["migrations"])
        migrate()
        verify_into(results, "back and forth")
        results["back and forth"] = take_snapshot(connection, ask)

        digest()
        verify_into(results, "digested")
        results["digested"] = take_snapshot(connection, ask)

        results["rekeyed"] = rekey(connection)
        verify_into(results, "rekeyed")

        results["retried"] = retry()
        digest()
        verify_into(results, "retried")
        results["left"] = rows_left(connection)
        results["again"] = rekey(connection, again=True)
        verify_into(results, "rekeyed again")

        results["last"] = take_snapshot(connection, ask)
        erase("shop000001", "u-1")
        verify_into(results, "erased")
        results["erased"] = take_snapshot(connection, ask)

        remove("shop000001", persona="vip", group="acme", site="late000001")
        verify_into(results, "removed")
        results["removed"] = take_snapshot(connection, ask)

        # The migrations stay reversible after all this. Rows of the newer tables get lost.
        migrate(before["migrations"])
        migrate()
    return results


def connect() -> Any:
    from api.http import database

    return database.connect()


def migrate(leaves: Mapping[str, str] | None = None) -> None:
    """Migrate each app to its migration in `leaves`, or all apps to the latest."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    if leaves is None:
        call_command("migrate", verbosity=0)
    else:  # all apps in one plan, because Django's command migrates one app at a time
        MigrationExecutor(connection).migrate(list(leaves.items()))


def open_tokens() -> list[str]:
    """Return the management tokens that open a site."""
    from api.http.tokens import with_open_sites
    from api.models import ManagementToken

    tokens = with_open_sites(ManagementToken.objects.order_by("pk"))
    return [str(token) for token in tokens if token.open_sites]  # type: ignore[attr-defined]  # annotated above


def verify_into(results: dict[str, Any], when: str) -> None:
    """Store every difference that `manage.py verify` would name."""
    from api.checks.run import verify

    results["differences"][when] = [
        [report.check, meaning, rows.count, rows.examples]
        for report in verify()
        for meaning, rows in report.found.items()
    ]


def ask(site: str, key: str) -> str:
    """Return remote data as an SDK with credentials reads it."""
    answer = sdk().get("/map/map", params={"siteCode": site, "key": key})
    assert answer.status_code == 200, (site, key, answer.text)
    return answer.text


@cache
def sdk() -> httpx.Client:
    from tests.support.asgi import Transport
    from tests.upgrade.snapshot import CLIENT_ID, CLIENT_SECRET

    return httpx.Client(transport=Transport(), base_url="http://testserver", auth=(CLIENT_ID, CLIENT_SECRET))


def digest() -> None:
    """Digest pending messages, and let days pass until no name waits for its goal."""
    from django.db.models import F

    from api.digest import run
    from api.digest.claims import Claims
    from goals.models import GoalCreation, WaitingName

    claims = Claims()
    try:
        for _ in range(ROUNDS):
            run.digest_all(claims, seconds=30)
            if not run.tend_queues(claims) and not WaitingName.objects.exists():
                return
            GoalCreation.objects.update(created_at=F("created_at") - timedelta(days=1))
    finally:
        claims.close()


def rekey(connection: Any, *, again: bool = False) -> dict[str, Any]:
    """Run `manage.py rekey`, at first after two interrupted steps. Return the conversions before and after."""
    from api.digest.rekey import step
    from api.models import Backfill
    from tests.upgrade.snapshot import conversions

    before = conversions(connection)
    if not again:
        for _ in range(2):
            step(Backfill.objects.get(finished_at=None), {})
    call_command("rekey", again=again, stdout=StringIO())
    return {"before": before, "after": conversions(connection)}


def retry() -> dict[str, int]:
    """Replay all replayable messages. Return their number by `<sitecode> <reason>`."""
    from api.digest.replay import replay
    from api.events.reasons import REPLAYABLE
    from api.models import Message, Site

    done = {}
    for site in Site.objects.order_by("sitecode"):
        failed = Message.objects.filter(site=site, status__in=("rejected", "failed"))
        for reason in sorted(REPLAYABLE & set(failed.values_list("reason", flat=True).distinct().order_by())):
            done[f"{site.sitecode} {reason}"] = replay(site.pk, reason, who="a test").messages
    return done


def erase(sitecode: str, id_: str) -> None:
    """Erase a person whose id occurs in events of others and traits of groups."""
    from api.erasure import erase as erasure
    from api.models import Site

    erasure.erase(Site.objects.get(sitecode=sitecode), id_, by="a test", now=datetime.now(UTC))
    for _ in range(10_000):
        if not erasure.sweep(now=datetime.now(UTC)):
            return
    raise AssertionError("the erasure does not end")


def remove(sitecode: str, *, persona: str, group: str, site: str) -> None:
    """Remove a persona, a group and a site, which the older version could not remove."""
    from api.erasure import removal
    from api.models import Removal, Site
    from cohorts.models import Group, Persona

    now = datetime.now(UTC)
    removal.remove_persona(Persona.objects.get(site__sitecode=sitecode, name=persona), by="a test", now=now)
    removal.remove_group(Group.objects.get(site__sitecode=sitecode, group_id=group), by="a test", now=now)
    removal.remove_site(Site.objects.get(sitecode=site), by="a test", now=now)
    for _ in range(300):
        while removal.sweep(now=now + timedelta(hours=1)):
            pass
        if not Removal.objects.filter(finished_at=None).exists():
            return
        time.sleep(0.1)  # the removal waits for older transactions to end
    raise AssertionError("the removal does not end")


def rows_left(connection: Any) -> list[list[Any]]:
    """Return the number of messages of each status and reason."""
    from tests.upgrade.snapshot import rows

    return rows(connection, "SELECT status, reason, count(*) FROM api_message GROUP BY 1, 2 ORDER BY 1, 2")


if __name__ == "__main__":
    django.setup()
    json.dump(upgrade(), sys.stdout)

"""An upgrade of the older version's rows, in a process of its own: `python -m tests.upgrade.journey`.

DATABASE_URL leads to an empty database. What was found on the way is printed as JSON, for `test_before.py` to judge.
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
ROUNDS: Final = 30  # of the queue of new goals; each stands for a day


def travel() -> dict[str, Any]:
    """Upgrade, look, go back and forth, digest what waited, try again what was refused; what was found."""
    from tests.upgrade import rows  # with the settings ready
    from tests.upgrade.seen import look

    before = json.loads((FIXTURE / "seen.json").read_text())
    found: dict[str, Any] = {"differences": {}}
    migrate(before["migrations"])
    with closing(connect()) as connection:
        rows.load(connection, FIXTURE)
        migrate()
        verify_into(found, "upgraded")
        found["upgraded"] = look(connection, ask)
        found["tokens"] = open_tokens()

        migrate(before["migrations"])
        migrate()
        verify_into(found, "back and forth")
        found["back and forth"] = look(connection, ask)

        digest()
        verify_into(found, "digested")
        found["digested"] = look(connection, ask)

        found["rekeyed"] = rekey(connection)
        verify_into(found, "rekeyed")

        found["retried"] = retry()
        digest()
        verify_into(found, "retried")
        found["left"] = rows_left(connection)
        found["again"] = rekey(connection, again=True)
        verify_into(found, "rekeyed again")

        found["last"] = look(connection, ask)
        erase("shop000001", "u-1")
        verify_into(found, "erased")
        found["erased"] = look(connection, ask)

        remove("shop000001", persona="vip", group="acme", site="late000001")
        verify_into(found, "removed")
        found["removed"] = look(connection, ask)

        # The way back stays open, whatever was done. What only the newer tables hold is lost on it.
        migrate(before["migrations"])
        migrate()
    return found


def connect() -> Any:
    from api.http import database

    return database.connect()


def migrate(leaves: Mapping[str, str] | None = None) -> None:
    """Migrate to these migrations of each app; without any, as `manage.py migrate` does."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    if leaves is None:
        call_command("migrate", verbosity=0)
    else:  # all apps in one plan, which Django's command takes one by one
        MigrationExecutor(connection).migrate(list(leaves.items()))


def open_tokens() -> list[str]:
    """Which management tokens open a site."""
    from api.http.tokens import with_open_sites
    from api.models import ManagementToken

    tokens = with_open_sites(ManagementToken.objects.order_by("pk"))
    return [str(token) for token in tokens if token.open_sites]  # type: ignore[attr-defined]  # annotated above


def verify_into(found: dict[str, Any], when: str) -> None:
    """Keep every difference that `manage.py verify` would name."""
    from api.checks.run import verify

    found["differences"][when] = [
        [report.law, meaning, rows.count, rows.examples]
        for report in verify()
        for meaning, rows in report.found.items()
    ]


def ask(site: str, key: str) -> str:
    """Remote data as an SDK with credentials reads it."""
    answer = sdk().get("/map/map", params={"siteCode": site, "key": key})
    assert answer.status_code == 200, (site, key, answer.text)
    return answer.text


@cache
def sdk() -> httpx.Client:
    from api.wsgi import application
    from tests.upgrade.seen import CLIENT_ID, CLIENT_SECRET

    transport = httpx.WSGITransport(app=application)
    return httpx.Client(transport=transport, base_url="http://testserver", auth=(CLIENT_ID, CLIENT_SECRET))


def digest() -> None:
    """Digest what is pending, and let days pass until no name waits for its goal."""
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
    """Run `manage.py rekey`, the first time after two of its steps were taken and interrupted; who converted what,
    before and after.
    """
    from api.digest.rekey import step
    from api.models import Backfill
    from tests.upgrade.seen import conversions

    before = conversions(connection)
    if not again:
        for _ in range(2):
            step(Backfill.objects.get(finished_at=None), {})
    call_command("rekey", again=again, stdout=StringIO())
    return {"before": before, "after": conversions(connection)}


def retry() -> dict[str, int]:
    """Try again whatever may be tried again; how many messages by `<sitecode> <reason>`."""
    from api.digest.replay import REPLAYABLE, replay
    from api.models import Message, Site

    done = {}
    for site in Site.objects.order_by("sitecode"):
        failed = Message.objects.filter(site=site, status__in=("rejected", "dead"))
        for reason in sorted(REPLAYABLE & set(failed.values_list("reason", flat=True).distinct().order_by())):
            done[f"{site.sitecode} {reason}"] = replay(site.pk, reason, who="a test").messages
    return done


def erase(sitecode: str, id_: str) -> None:
    """Erase a person whom events of others and traits of groups name."""
    from api.erasure import erase as erasure
    from api.models import Site

    erasure.erase(Site.objects.get(sitecode=sitecode), id_, by="a test", now=datetime.now(UTC))
    for _ in range(10_000):
        if not erasure.sweep(now=datetime.now(UTC)):
            return
    raise AssertionError("the erasure does not end")


def remove(sitecode: str, *, persona: str, group: str, site: str) -> None:
    """Remove what the older version could not."""
    from api.erasure import removal
    from api.models import Removal, Site
    from cohorts.models import Group, Persona

    now = datetime.now(UTC)
    theirs = {"site__sitecode": sitecode}
    removal.remove_persona(Persona.objects.get(name=persona, **theirs), by="a test", now=now)
    removal.remove_group(Group.objects.get(group_id=group, **theirs), by="a test", now=now)
    removal.remove_site(Site.objects.get(sitecode=site), by="a test", now=now)
    for _ in range(300):
        while removal.sweep(now=now + timedelta(hours=1)):
            pass
        if not Removal.objects.filter(finished_at=None).exists():
            return
        time.sleep(0.1)  # it waits for what began before it to end
    raise AssertionError("the removal does not end")


def rows_left(connection: Any) -> list[list[Any]]:
    """How many messages there are of each status and reason."""
    from tests.upgrade.seen import rows

    return rows(connection, "SELECT status, reason, count(*) FROM api_message GROUP BY 1, 2 ORDER BY 1, 2")


if __name__ == "__main__":
    django.setup()
    json.dump(travel(), sys.stdout)

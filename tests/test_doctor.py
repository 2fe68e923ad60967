"""`manage.py doctor`: what it says when something is wrong; all well is in tests/run."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db.migrations.recorder import MigrationRecorder

from api.management.commands import doctor
from api.models import Message, Twin
from api.sites import create_source
from tests.world import World

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.django_db
def test_doctor__no_worker__fails_with_what_to_do() -> None:
    output = StringIO()
    with pytest.raises(CommandError, match=r"not well: worker$"):
        call_command("doctor", stdout=output)
    levels = [line.split()[0] for line in output.getvalue().splitlines() if not line.startswith(" ")]
    assert levels == ["ok", "ok", "ok", "FAIL", "ok", "ok", "ok", "ok"]
    assert "-> start one" in output.getvalue()


def test_doctor__everything_down__says_so_without_a_traceback() -> None:
    down = {"DATABASE_URL": "postgresql://me:geheim@127.0.0.1:1/goalpost", "REDIS_URL": "redis://127.0.0.1:1/0"}
    report = subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT,
        env=os.environ | down,
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.returncode == 1
    assert report.stderr == "CommandError: not well: broker, database\n"
    assert "geheim" not in report.stdout
    levels = [line.split()[0] for line in report.stdout.splitlines() if not line.startswith(" ")]
    assert levels == ["FAIL", "warn", "FAIL", "warn", "warn", "warn", "warn", "ok"]


@pytest.mark.parametrize(("waiting", "level"), [(5, "ok"), (60, "warn"), (3600, "FAIL")])
def test_inbox__oldest_message_waits__grades_the_lag(world: World, waiting: int, level: str) -> None:
    world.post(world.event())
    Message.objects.update(received_at=datetime.now(UTC) - timedelta(seconds=waiting))
    finding = doctor.look_at_inbox()
    assert finding.level == level
    assert bool(finding.advice) == (level != "ok")


@pytest.mark.promise("B-06")
@pytest.mark.parametrize(("hours", "level"), [(1, "warn"), (25, "ok")])
def test_sources__two_that_send_the_same__are_named_for_a_day(world: World, hours: int, level: str) -> None:
    one, other = (create_source(world.site, name=name, kind="server") for name in ("Shop", "Web"))
    last_seen_at = datetime.now(UTC) - timedelta(hours=hours)
    Twin.objects.create(site=world.site, one=one, other=other, event_name="Buy", count=1, last_seen_at=last_seen_at)

    finding = doctor.look_at_sources()

    assert finding.level == level
    assert ("Shop and Web of Shop (1q2w3e4r5t)" in finding.found) == (level == "warn")


@pytest.mark.django_db
def test_migrations__one_is_missing__names_it() -> None:
    MigrationRecorder.Migration.objects.filter(app="sessions", name="0001_initial").delete()
    finding = doctor.look_at_migrations()
    assert (finding.level, finding.found) == ("FAIL", "1 not applied: sessions.0001_initial")


def test_clock__beyond_a_minute__fails() -> None:
    finding = doctor.grade(timedelta(seconds=61), doctor.CLOCK_WARNING, doctor.CLOCK_FAILURE, "61 s", "synchronise")
    assert finding == doctor.Finding("FAIL", "61 s", "synchronise")

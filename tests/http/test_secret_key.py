"""The fingerprint of the secret key: with a different key no process starts and no row is written."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError
from django.db import connection
from pytest_django import Settings

from api.digest.claims import Claims
from api.http.database import KEY_CHECKED_KINDS, SessionKind, connect, connection_parameters
from api.http.secret_key import OtherKeyError, fingerprint
from api.management.commands.prepare import record_key
from api.models import AuditEntry, KeyFingerprint
from tests.world import World

ROOT = Path(__file__).resolve().parents[2]
OTHER = "another key of the same length as the first one, or so"


def test_fingerprint__of_two_keys__differs_and_reveals_neither(settings: Settings) -> None:
    ours = fingerprint()
    settings.SECRET_KEY = OTHER

    assert fingerprint() != ours
    assert len(fingerprint()) == 16


def test_prepare__database_without_a_record__records_this_key_once(transactional_db: None) -> None:
    record_key()
    record_key()

    assert [row.value for row in KeyFingerprint.objects.all()] == [fingerprint()]
    assert not AuditEntry.objects.exists()


def test_prepare__another_key__says_what_would_be_lost_and_how_to_go_on(
    transactional_db: None, settings: Settings
) -> None:
    record_key()
    recorded = fingerprint()
    settings.SECRET_KEY, settings.SECRET_KEY_PLACE = OTHER, "/data/secret-key"

    with pytest.raises(CommandError) as refused:
        record_key()

    line = str(refused.value)
    assert not [part for part in ("/data/secret-key", recorded, "erased", "hashed", "sessions") if part not in line]
    assert line.endswith(f"start once with GOALPOST_ACCEPT_KEY={fingerprint()}")
    assert "\n" not in line
    assert OTHER not in line
    assert KeyFingerprint.objects.get().value == recorded


def test_prepare__another_key_that_is_accepted__is_recorded_and_logged(
    transactional_db: None, settings: Settings
) -> None:
    record_key()
    recorded = fingerprint()
    settings.SECRET_KEY = OTHER
    settings.ACCEPT_KEY = fingerprint()

    record_key()

    assert KeyFingerprint.objects.get().value == fingerprint()
    entry = AuditEntry.objects.get()
    assert (entry.site, entry.before, entry.after) == (None, {"key": recorded}, {"key": fingerprint()})
    connect(SessionKind.INBOX).close()


def test_prepare__acceptance_left_in_place__accepts_no_third_key(transactional_db: None, settings: Settings) -> None:
    settings.ACCEPT_KEY = fingerprint()
    record_key()
    settings.SECRET_KEY = OTHER

    with pytest.raises(CommandError):
        record_key()


@pytest.mark.parametrize("kind", sorted(KEY_CHECKED_KINDS))
def test_session__that_writes_under_another_key__is_refused(
    world: World, settings: Settings, kind: SessionKind
) -> None:
    connect(kind).close()
    record_key()
    connect(kind).close()
    settings.SECRET_KEY = OTHER

    with pytest.raises(OtherKeyError):
        connect(kind)


def test_worker__under_another_key__takes_nothing(world: World, settings: Settings) -> None:
    """Otherwise events of an erased person would be accepted again."""
    record_key()
    world.post(world.event())
    settings.SECRET_KEY = OTHER
    claims = Claims()

    with pytest.raises(psycopg.OperationalError):
        claims.note(world.site.pk, [1])


@pytest.mark.parametrize(
    "program",
    [
        ("-c", "import api.asgi"),
        ("-m", "celery", "--quiet", "-A", "api.celery", "worker", "--concurrency", "1", "--loglevel", "ERROR"),
        ("-m", "celery", "--quiet", "-A", "api.celery", "beat"),
    ],
)
def test_start__under_another_key__ends_with_one_line(transactional_db: None, program: tuple[str, ...]) -> None:
    record_key()
    here = connection_parameters()
    url = os.environ["DATABASE_URL"].replace("/goalpost?", f"/{here['dbname']}?")
    environment = {"DATABASE_URL": url, "GOALPOST_SECRET_KEY": OTHER}

    refused = subprocess.run(
        [sys.executable, "-W", "ignore", *program],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    connection.close()
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "the secret key in GOALPOST_SECRET_KEY is not the one of this database" in line

"""The cluster on which the tests start: what makes them migrate a new one."""

import os
from pathlib import Path

import pytest
from django.db import connection

from tests import migrated_cluster
from tests.migrated_cluster import CAUSES, compute_key


@pytest.fixture
def migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only migration of a project."""
    monkeypatch.setattr(migrated_cluster, "ROOT", tmp_path)
    migration = tmp_path / "goals" / "migrations" / "0001_initial.py"
    for path in (migration, *(tmp_path / name for name in CAUSES)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return migration


@pytest.mark.parametrize("cause", [*CAUSES, "goals/migrations/0001_initial.py", "goals/migrations/0002_second.py"])
def test_key__of_another_schema__is_another(migration: Path, tmp_path: Path, cause: str) -> None:
    key = compute_key()

    assert compute_key() == key
    (tmp_path / cause).write_text("operations = []")
    assert compute_key() != key


def test_key__renamed_migration__is_another(migration: Path) -> None:
    key = compute_key()
    migration.rename(migration.with_name("0002_initial.py"))
    assert compute_key() != key


@pytest.mark.django_db
def test_database__under_test__was_migrated_before_its_server_started() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(applied) < pg_postmaster_start_time() FROM django_migrations")
        assert cursor.fetchone() == ("TESTS_TEMPLATE" in os.environ,)

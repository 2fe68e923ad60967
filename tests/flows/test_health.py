"""Whether the process can do its work, as whoever starts it asks."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from tests.world import World


@contextmanager
def renamed(table: str) -> Iterator[None]:
    """Without a table, for a while."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE {table}_away RENAME TO {table}")


def test_ready__on_an_empty_database__says_what_is_missing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with renamed("django_migrations"):
        answer = world.client.get("/health/ready")

    assert (answer.status_code, answer.json()["code"]) == (503, "not_migrated")
    assert "request.failed" not in caplog.text
    assert world.client.get("/health/ready").status_code == 200

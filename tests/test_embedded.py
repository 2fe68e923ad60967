"""The servers that the tests themselves run on."""

import os

import pytest
from django.core.cache import cache
from django.db import connection


@pytest.mark.django_db
def test_database__under_test__is_postgresql_with_commits_as_in_production() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version_num')::int >= 180000, current_setting('synchronous_commit')"
        )
        assert cursor.fetchone() == (True, "on")


def test_cache__under_test__is_this_workers_own() -> None:
    cache.set("worker", os.environ.get("PYTEST_XDIST_WORKER", "none"))
    assert cache.get("worker") == os.environ.get("PYTEST_XDIST_WORKER", "none")

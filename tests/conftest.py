"""Fixtures for all tests: a site, an HTTP client of the application, and a clock of the new-goal limit."""

import logging
import os
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from pytest_django import DjangoDbBlocker

from api.digest import segments
from api.digest.claims import Claims
from api.http import credentials
from api.http.database import configure_django
from goals import quota
from tests.support.asgi import Transport
from tests.support.clock import Clock
from tests.world import START, World

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request hides the rest
settings.register_profile("patient", deadline=None, suppress_health_check=list(HealthCheck))  # a machine may be slow
settings.load_profile("patient")


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Keep the databases, because server threads still hold connections. The server itself is temporary."""
    return True


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """Let a database be a copy of the migrated one, if the tests started the server."""
    connection.settings_dict["TEST"]["TEMPLATE"] = os.environ.get("TESTS_TEMPLATE")


@pytest.fixture
def transactional_db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Replace pytest-django's fixture: real commits too, but DELETE, which is ten times as fast as a flush."""
    with django_db_blocker.unblock():
        yield
        kept = {"django_migrations", "django_content_type", "auth_permission"}
        tables = [name for name in connection.introspection.table_names() if name not in kept]
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")  # without foreign keys any order works
            cursor.execute("; ".join(f"DELETE FROM {name}" for name in tables))
            cursor.execute("DISCARD ALL")  # a new session costs more, because it reads the catalogue again
        configure_django(connection)


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    """Yield a site with a credential and a client that sends requests to the application."""
    credentials.clear_lookups()
    segments.forget_lookups()
    claims = Claims()
    with httpx.Client(transport=Transport(), base_url="http://testserver") as client:
        yield World.build(client, claims)
    claims.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Control the time of goal creations, so that no result depends on the duration of a test."""
    clock, lock = Clock(START), quota.lock_names

    def lock_names(site_id: int) -> datetime:
        lock(site_id)
        return clock.now

    monkeypatch.setattr(quota, "lock_names", lock_names)
    return clock

"""The audit log is only appended to."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.test import RequestFactory

from api.ingest.provisioning import create_site
from api.models import AuditEntry, Site
from api.models.audit import audit_values, write_audit
from tests.world import START


@pytest.fixture
def site(db: None) -> Site:
    return create_site(name="Shop")


@pytest.fixture
def entry(site: Site) -> AuditEntry:
    request = RequestFactory().post("/")
    request.user = User.objects.create_user("ada")
    return write_audit(
        request.user, site, "Renamed the goal 12", {"name": "Old", "at": START}, {"name": "New", "by": Decimal("1.5")}
    )


def test_entry__noted__says_who_when_and_what(entry: AuditEntry, site: Site) -> None:
    stored = AuditEntry.objects.get()

    assert (stored.site, stored.who, stored.what) == (site, "ada", "Renamed the goal 12")
    assert stored.before == {"name": "Old", "at": "2026-11-22T03:00:00Z"}
    assert stored.after == {"name": "New", "by": "1.5"}


def test_entry__of_a_person_deleted_since__stays_under_their_name(entry: AuditEntry) -> None:
    User.objects.get().delete()

    assert AuditEntry.objects.get().who == "ada"


@pytest.mark.parametrize(
    "statement", ["UPDATE api_auditentry SET who = 'eve'", "DELETE FROM api_auditentry", "TRUNCATE api_auditentry"]
)
def test_entry__changed_or_deleted_by_whatever_program__stays(entry: AuditEntry, statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table with pending ones cannot be truncated at all
    with (
        pytest.raises(DatabaseError, match="can only be added to"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)

    assert AuditEntry.objects.get() == entry


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ({"b": 2}, {"b": 3})),
        ({}, {"a": 1}, ({"a": None}, {"a": 1})),
        ({"a": 1}, {"a": 1}, ({}, {})),
    ],
)
def test_changed__fields_of_two_states__are_those_that_differ(before: Any, after: Any, expected: Any) -> None:
    assert audit_values(before, after) == expected

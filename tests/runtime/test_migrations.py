"""Migrations back to an earlier version and forward again, with rows of the later version."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from api.checks.run import verify
from api.models import Alert, AuditEntry, Message, Site
from api.models.audit import write_audit
from api.models.removals import Removal
from cohorts.segment_tables import SegmentMember
from goals.visit_models import Exposure
from tests.support.ada import send_ada
from tests.world import START, World

EARLIER = {"cohorts": "0003", "api": "0011", "goals": "0005"}  # before persona histories and programs in the audit log


@pytest.fixture
def newest(world: World) -> Iterator[World]:
    """Yield a world and migrate to the newest tables afterwards, even after a failure."""
    try:
        yield world
    finally:
        call_command("migrate", verbosity=0)


def test_migrations__back_and_forward__keep_what_both_know(newest: World) -> None:
    send_ada(newest)
    write_audit("token 1", newest.site, "Made the goal 1")
    write_audit("manage.py", None, "Made the user 1")
    Alert.objects.create(site=newest.site, name="Slow", condition=Alert.Condition.LAG, threshold=60)
    Site.objects.update(keeps_done_days=400)

    for app, name in EARLIER.items():
        call_command("migrate", app, name, verbosity=0)
    call_command("migrate", verbosity=0)

    assert list(AuditEntry.objects.order_by("pk").values_list("site", "who")) == [
        (newest.site.pk, "token 1"),
        (None, "manage.py"),
    ]
    assert Site.objects.get().keeps_done_days is None
    Message.objects.update(status="pending", reason="", digested_at=None)  # as manage.py verify advises
    newest.digest()
    assert [report for report in verify() if report.found] == []


def test_migrations__back_with_a_removed_segment__leave_nothing_to_an_older_worker(newest: World) -> None:
    removal = Removal.objects.create(
        site=newest.site, of=Removal.Of.SEGMENT, name="Pros", number=7, removed_by="a", created_at=START
    )
    for segment in (removal.number, 8):
        SegmentMember.objects.create(
            site=newest.site, segment_id=segment, identity_id=1, version=1, is_member=True, since=START
        )

    call_command("migrate", "api", "0062", verbosity=0)

    assert not Removal.objects.exists()
    assert list(SegmentMember.objects.values_list("segment", flat=True)) == [8]


def test_migrations__back_before_anonymous_ids_of_exposures__keep_the_earliest_of_each_user(newest: World) -> None:
    viewed = {"experiment_id": "menu", "variation_id": "on"}
    pairs = [("ann", "phone"), ("ann", "desk"), ("ann", None), ("bob", "phone"), (None, "tv")]
    for at, (user, device) in enumerate(pairs):
        newest.send(newest.event(event="Experiment Viewed", at=at, properties=viewed, userId=user, anonymousId=device))

    call_command("migrate", "goals", "0023", verbosity=0)

    with connection.cursor() as cursor:
        cursor.execute("SELECT visitor_code, is_user, first_at FROM goals_exposure ORDER BY 1")
        assert cursor.fetchall() == [("ann", True, START), ("bob", True, START + timedelta(seconds=3))]


def test_migrations__of_the_key_of_exposures__can_be_repeated_after_an_interruption(newest: World) -> None:
    call_command("migrate", "goals", "0025", verbosity=0)
    call_command("migrate", "goals", "0024", verbosity=0, fake=True)

    call_command("migrate", verbosity=0)

    with connection.cursor() as cursor:
        (key,) = Exposure._meta.constraints
        assert key.name in connection.introspection.get_constraints(cursor, Exposure._meta.db_table)

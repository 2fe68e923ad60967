"""Statements that Django writes for rows of sites: each names the site, and none reaches a row of another one."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.ingest.provisioning import create_site, create_source
from api.models import Alert, AlertDelivery, DuplicateSources, Rule, Site, Source
from goals.models import Tag
from site_rows import delete_row
from tests.support.site_judge import judge
from tests.support.site_law import list_site_tables


@pytest.fixture
def site(transactional_db: None) -> Site:
    return create_site(name="Shop")


@pytest.fixture
def source(site: Site) -> Source:
    return create_source(site, name="Web", kind="browser")


@pytest.fixture
def alert(source: Source) -> Alert:
    alert = Alert.objects.create(site=source.site, name="Silence", condition="silence", threshold=5, source=source)
    now = timezone.now()
    AlertDelivery.objects.bulk_create(
        AlertDelivery(site=source.site, alert=alert, event="fired", channel="email", at=now, next_try_at=now)
        for _ in range(2)
    )
    return alert


@contextmanager
def statements_that_name_their_site(*, most: int) -> Iterator[None]:
    """Assert that each statement of the block names its site, and that there are no more of them."""
    with CaptureQueriesContext(connection) as captured:
        yield
    sent = [query["sql"] for query in captured if query["sql"] not in {"BEGIN", "COMMIT"}]
    assert {
        sql: faults for sql in sent if (faults := judge(sql, list_site_tables(), has_parameters=False).faults)
    } == {}
    assert 0 < len(sent) <= most


def test_row__created_saved_read_and_deleted__names_its_site(site: Site) -> None:
    with statements_that_name_their_site(most=4):
        rule = Rule.objects.create(site=site, name="One", action="drop")
        rule.name = "Two"
        rule.save()
        rule.refresh_from_db()
        assert rule.delete() == (1, {"api.Rule": 1})
    assert rule.pk is None


def test_rows__created_together__are_values(site: Site) -> None:
    with statements_that_name_their_site(most=1):
        Rule.objects.bulk_create(Rule(site=site, name=name, action="drop") for name in "abc")


def test_deferred_field__of_a_row__is_read_by_its_site(site: Site) -> None:
    Rule.objects.create(site=site, name="One", action="drop")
    rule = Rule.objects.defer("name").get()

    with statements_that_name_their_site(most=1):
        assert rule.name == "One"


def test_row__with_the_id_of_another_site__changes_nothing(site: Site) -> None:
    rule = Rule.objects.create(site=site, name="One", action="drop")
    foreign = Rule(pk=rule.pk, site=create_site(name="Other"), name="Two", action="drop")

    with pytest.raises(DatabaseError):
        foreign.save(force_update=True)
    with pytest.raises(Rule.DoesNotExist):
        foreign.refresh_from_db()
    assert foreign.delete()[0] == 0
    rule.refresh_from_db()
    assert rule.name == "One"


def test_foreign_key__followed_both_ways__names_the_site(alert: Alert) -> None:
    alert = Alert.objects.get()

    with statements_that_name_their_site(most=5):
        assert alert.source is not None
        assert alert.source.name == "Web"
        assert [delivery.alert_id for delivery in alert.deliveries.all()] == [alert.pk, alert.pk]
        assert alert.deliveries.filter(event="fired").update(event="test") == 2
        assert alert.deliveries.count() == 2


def test_foreign_key__of_another_site__is_not_followed(alert: Alert) -> None:
    foreign = create_source(create_site(name="Other"), name="Theirs", kind="browser")
    Alert.objects.update(source=foreign)

    with pytest.raises(Source.DoesNotExist):
        _ = Alert.objects.get().source
    assert Alert.objects.filter(source__name="Theirs").count() == 0
    assert [alert.source for alert in Alert.objects.select_related("source")] == [None]


def test_foreign_key__to_a_row_of_another_site__is_not_valid(alert: Alert) -> None:
    with statements_that_name_their_site(most=3):
        alert.full_clean()

    alert.source = create_source(create_site(name="Other"), name="Theirs", kind="browser")
    with pytest.raises(ValidationError, match="is not a valid choice"):
        alert.full_clean()


def test_joins__of_rows_of_one_site__name_it(site: Site, alert: Alert) -> None:
    with statements_that_name_their_site(most=4):
        joined = AlertDelivery.objects.filter(site=site).select_related("alert__source")
        assert {delivery.alert.source and delivery.alert.source.name for delivery in joined} == {"Web"}
        assert AlertDelivery.objects.filter(site=site, alert__source__name="Web").count() == 2
        assert AlertDelivery.objects.filter(site=site).exclude(alert__name="Silence").count() == 0
        assert Alert.objects.filter(site=site, deliveries__event="fired").distinct().count() == 1


def test_prefetch__in_both_directions__names_the_site(site: Site, alert: Alert) -> None:
    with statements_that_name_their_site(most=5):
        (found,) = Alert.objects.filter(site=site).prefetch_related("deliveries", "source")
        assert len(found.deliveries.all()) == 2
        assert found.source is not None
        deliveries = AlertDelivery.objects.filter(site=site).prefetch_related("alert")
        assert [delivery.alert.name for delivery in deliveries] == ["Silence", "Silence"]


def test_row__with_dependent_rows__is_deleted_with_them(site: Site, source: Source, alert: Alert) -> None:
    other = create_source(site, name="App", kind="server")
    DuplicateSources.objects.create(
        site=site, one=source, other=other, event_name="Buy", count=1, last_seen_at=timezone.now()
    )
    kept = Rule.objects.create(site=site, name="Of all", action="drop")
    Rule.objects.create(site=site, source=source, name="Of one", action="drop")

    with statements_that_name_their_site(most=20):
        _, counts = source.delete()

    assert {"api.Alert": 1, "api.AlertDelivery": 2, "api.DuplicateSources": 1, "api.Rule": 1}.items() <= counts.items()
    assert [*Rule.objects.all()] == [kept]
    assert source.pk is None


def test_site__with_its_rows__is_deleted(site: Site, alert: Alert) -> None:
    other = create_site(name="Other")

    with statements_that_name_their_site(most=75):
        delete_row(site)

    assert [*Site.objects.all()] == [other]
    assert not Alert.objects.exists()


def test_rows__more_than_a_statement_has_parameters_for__are_all_inserted(site: Site) -> None:
    Tag.objects.bulk_create(Tag(site=site, name=f"tag {number}") for number in range(33_000))

    assert Tag.objects.filter(site=site).count() == 33_000

"""Removal of personas, groups, tags and sites that were created by mistake."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.test import Client
from django.urls import reverse

from api.checks.run import verify
from api.erasure import removal
from api.http.database import connect
from api.ingest import provisioning
from api.models import AuditEntry, Message, Removal, Site
from cohorts.models import Group, Identity, Persona, PersonaFact
from goals.models import Conversion, Goal, GoalVisitor, Tag
from tests.support.ada import ENTERED, send_ada
from tests.support.pages import address, browser_of, text_of
from tests.support.source_counts import wait_until_counted
from tests.world import World


@pytest.fixture
def site(world: World) -> Site:
    send_ada(world)
    return world.site


@pytest.fixture
def owner(site: Site) -> Client:
    return browser_of(site, "owner")


def finish(*, steps: int = 1_000) -> int:
    """Run the removal as the worker does every few seconds, and return the number of steps."""
    for number in range(steps):
        if not removal.sweep(now=datetime.now(UTC)):
            return number
    return steps


def contradictions() -> list[Any]:
    return [report for report in verify() if report.found]


def test_persona__removed__is_gone_everywhere_and_comes_back_with_an_event(
    owner: Client, site: Site, world: World
) -> None:
    world.send(world.event("track", at=9, userId="grace", event="Audience Entered", properties={"audience_key": "new"}))
    page = text_of(owner.get(address("personas/persona/remove/?name=vip")))
    assert "1 person is in the persona vip" in page
    response = owner.post(address("personas/persona/remove/"), {"name": "vip"}, follow=True)
    assert "vip is being removed" in text_of(response)
    assert world.read("common") == {"cohorts": ["new"]}
    assert contradictions() == []  # also while it goes on
    finish()

    assert world.read("COHORTS_grace") == {"new": True}
    assert world.read("COHORTS_ada-king") == {}
    assert PersonaFact.objects.exclude(persona__name="new").count() == 0
    assert contradictions() == []
    assert AuditEntry.objects.get(site=site).before == {"name": "vip"}

    world.send(world.event("track", at=10, userId="grace", **ENTERED))
    assert world.read("COHORTS_grace") == {"new": True, "vip": True}
    assert Persona.objects.filter(site=site, name="vip").exists()
    assert contradictions() == []


def test_group__removed__leaves_its_members_without_one(owner: Client, site: Site, world: World) -> None:
    world.send(world.event("group", userId="grace", groupId="umbrella"))
    assert "1 trait of the group" in text_of(owner.get(address("groups/group/remove/?id=acme")))
    owner.post(address("groups/group/remove/"), {"id": "acme"})
    finish()

    assert list(Group.objects.values_list("group_id", flat=True)) == ["umbrella"]
    assert "groupId" not in world.read("IDENTIFY_ada-king")
    assert world.read("IDENTIFY_grace")["groupId"] == "umbrella"
    assert contradictions() == []


def test_removal__in_a_site_whose_ids_begin_late__takes_as_many_steps(owner: Client, site: Site) -> None:
    """Sequences serve all sites, and several servers may share them."""
    Identity.objects.filter(site=site).update(id=F("id") + 1_000_000_000)
    owner.post(address("groups/group/remove/"), {"id": "acme"})
    assert finish() <= 3


def test_removal__of_another_sites_persona__touches_nobody_here(owner: Client, site: Site, world: World) -> None:
    other = provisioning.create_site(name="Other", sitecode="other00000")
    removal.remove_persona(Persona.objects.create(site=other, name="vip"), by="x", now=datetime.now(UTC))
    finish()
    assert world.read("COHORTS_grace") == {"vip": True}
    assert world.read("common") == {"cohorts": ["vip"]}


def test_removal__killed_on_the_way__is_taken_up_again(owner: Client, site: Site, world: World) -> None:
    owner.post(address("personas/persona/remove/"), {"name": "vip"})
    finish(steps=2)
    assert Removal.objects.get().finished_at is None
    finish()
    assert world.read("COHORTS_grace") == {}
    assert Removal.objects.get().finished_at is not None


@pytest.mark.parametrize("name", [" t3", "t3 ", "t3"])
def test_tag__with_space_around_it__is_the_one_without(owner: Client, site: Site, name: str) -> None:
    goal = Goal.objects.get(site=site)
    Tag.objects.create(site=site, name="t3")
    asked = owner.post(address("goals/change/"), {"goal": [goal.pk], "action": "tag", "tag_name": name})
    owner.post(asked.headers["Location"])
    assert sorted(goal.tags.values_list("name", flat=True)) == ["segment.io", "t3"]
    assert Tag.objects.filter(name__contains="t3").count() == 1


def test_tag__removed__leaves_its_goals(owner: Client, site: Site) -> None:
    goal = Goal.objects.get(site=site)
    tag = Tag.objects.create(site=site, name="mistake")
    goal.tags.add(tag, through_defaults={"site": goal.site})
    owner.post(address(f"goals/tags/{tag.pk}/remove/"), {"confirmed": "yes"})
    assert sorted(goal.tags.values_list("name", flat=True)) == ["segment.io"]
    assert AuditEntry.objects.get(site=site).before == {"name": "mistake"}


def test_tags__of_deleted_goals_only__are_not_in_the_side_panel(owner: Client, site: Site) -> None:
    Tag.objects.create(site=site, name="unused-tag")
    assert "unused-tag" not in text_of(owner.get(address("goals/")))
    assert "unused-tag" in text_of(owner.get(address("goals/tags/")))


# Sites


@pytest.fixture
def admin(site: Site) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    return client


def remove(client: Client, site: Site, code: str | None = None) -> Any:
    path = reverse("admin:api_site_delete", args=[site.pk])
    return client.post(path, {"sitecode": site.sitecode if code is None else code}, follow=True)


def rows_of(site: Site) -> list[str]:
    """Return the tables that hold rows of a site, without the log."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.columns WHERE column_name = 'site_id'"
            " AND table_name NOT IN (SELECT relname FROM pg_class WHERE relispartition)"
        )
        tables = [row[0] for row in cursor.fetchall()]
        found = []
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {table} WHERE site_id = %s", [site.pk])
            if cursor.fetchone()[0]:
                found.append(table)
    return found


def test_site__that_is_empty__goes_at_once(admin: Client, site: Site) -> None:
    empty = provisioning.create_site(name="Try", sitecode="empty00000")
    assert "is gone" in text_of(remove(admin, empty))
    assert not Site.objects.filter(pk=empty.pk).exists()
    assert rows_of(empty) == []


def test_site__with_data__goes_in_the_background_and_leaves_only_its_log(
    admin: Client, owner: Client, site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = provisioning.create_site(name="Other", sitecode="other00000")
    Goal.objects.create(site=other, name="Stays")
    owner.post(address("personas/persona/remove/"), {"name": "vip"})  # something in its log
    finish()
    wait_until_counted(site, 7)  # later the process that received them would write what it counted
    page = text_of(admin.get(reverse("admin:api_site_delete", args=[site.pk])))
    assert "<td>events</td><td>7</td>" in page
    assert "<td>conversions</td><td>1</td>" in page

    assert "Nothing was removed" in text_of(remove(admin, site, "1q2w3e4r5"))
    assert "A worker removes it" in text_of(remove(admin, site))
    assert owner.get(address("goals/")).status_code == 404
    monkeypatch.setattr(removal, "CHUNK", 2)
    finish(steps=5)  # and here the worker dies
    assert "rows so far" in text_of(admin.get(reverse("admin:api_site_changelist")))
    finish()
    assert Site.objects.filter(pk=site.pk).exists()  # something may still be on its way
    Removal.objects.update(created_at=datetime.now(UTC) - timedelta(seconds=11))
    with connect() as busy, busy.transaction():
        busy.execute("SELECT pg_current_xact_id()")  # of another site: there is always one
        finish()

    assert not Site.objects.filter(pk=site.pk).exists()
    assert rows_of(site) == ["api_auditentry"]
    assert not GoalVisitor.objects.exists()
    assert not Message.objects.exists()
    assert not Conversion.objects.exists()
    assert Goal.objects.get().name == "Stays"
    assert AuditEntry.objects.filter(site=None, what__startswith="Removed the site").count() == 1
    assert admin.get(reverse("admin:api_auditentry_changelist")).status_code == 200
    assert contradictions() == []


def test_site__being_removed__takes_nothing_in(admin: Client, site: Site, world: World) -> None:
    from api.http.credentials import clear_lookups

    remove(admin, site)
    clear_lookups()
    assert world.post(world.event()).status_code in {401, 403}


def test_removal__that_waits__lets_the_others_go_on(site: Site) -> None:
    now = datetime.now(UTC)
    waiting = Removal.objects.create(
        site=site, of=Removal.Of.SEGMENT, name="gone", number=1, removed_by="owner", created_at=now
    )
    persona = removal.remove_persona(Persona.objects.get(name="vip"), by="owner", now=now)

    for _ in range(20):
        removal.sweep(now=now)

    persona.refresh_from_db()
    waiting.refresh_from_db()
    assert (waiting.finished_at, persona.finished_at) == (None, now)


@pytest.mark.parametrize("who", ["owner", "viewer", "outsider"])
def test_site__for_who_is_no_administrator__stays(site: Site, who: str) -> None:
    assert remove(browser_of(site, who), site).status_code in {200, 403, 404}
    assert Site.objects.filter(pk=site.pk).exists()
    assert not Removal.objects.exists()

"""What people may change in the admin: sites, credentials, sources, goals, bindings."""

import base64
import html
import json
import re
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from api.http.credentials import hash_secret
from api.ingest.provisioning import create_site
from api.models import Credential, Site, Source
from goals import catalogue
from goals.models import Conversion, Goal, GoalBinding, Tag
from tests.admin.conftest import TEMPLATE, form_of, save, text_of

# Sites


def test_site__made__has_its_destination_and_a_sitecode_of_ours(person: Client) -> None:
    path = reverse("admin:api_site_add")

    response = save(person, path, name="New shop")

    assert response.status_code == 302, response.content
    site = Site.objects.get(name="New shop")
    assert re.fullmatch("[a-z0-9]{10}", site.sitecode)
    assert [source.kind for source in site.sources.all()] == [Source.Kind.DESTINATION]
    assert site.link_event_names == ["Kameleoon identifier"]


@pytest.mark.promise("K-39")
def test_site__its_page__shows_the_sitecode_with_a_button_that_copies(person: Client, site: Site) -> None:
    shown = text_of(person.get(reverse("admin:api_site_change", args=[site.pk])))

    assert '<code>1q2w3e4r5t</code> <button type="button" class="button" data-copy="1q2w3e4r5t">' in shown
    assert "api/copy.js" in shown
    assert site.sources.get().name in shown


def test_site__saved__keeps_lists_line_by_line(person: Client, site: Site) -> None:
    path = reverse("admin:api_site_change", args=[site.pk])

    response = save(person, path, public_traits="plan\r\n\r\n a, b \r\n", entered_event_names="")

    assert response.status_code == 302, response.content
    site.refresh_from_db()
    assert site.public_traits == ["plan", " a, b "]
    assert site.entered_event_names == []
    assert site.exited_event_names == ["Audience Exited"]


@pytest.mark.parametrize(
    "changes",
    [
        {"public_traits": "a" * 256},
        {"goal_name_template": "no names"},
        {"default_currency": "euro"},
        {"goals_per_10_seconds": "0"},
        {"name": "a\0b"},
        {"public_traits": "a\0b"},
    ],
)
def test_site__wrong_values__are_refused_on_the_page(person: Client, site: Site, changes: dict[str, str]) -> None:
    path = reverse("admin:api_site_change", args=[site.pk])

    assert "errorlist" in text_of(save(person, path, **changes))


def test_site__destination__is_switched_off(person: Client, site: Site) -> None:
    path = reverse("admin:api_site_change", args=[site.pk])
    sent = form_of(person, path)
    del sent["sources-0-is_enabled"]

    assert person.post(path, sent).status_code == 302

    assert not site.sources.get().is_enabled


@pytest.mark.parametrize("model", [Credential, Source])
def test_row__that_much_hangs_on__cannot_be_deleted(person: Client, model: Any) -> None:
    path = reverse(f"admin:api_{model._meta.model_name}_delete", args=[model.objects.get().pk])

    assert person.post(path, {"post": "yes"}).status_code == 403
    assert model.objects.exists()


# Credentials


def told(shown: str) -> dict[str, str]:
    """The rows of a page that tells a secret."""
    rows = re.findall(r'<th scope="row">([^<]+)</th><td><code>([^<]+)</code>', shown)
    return {name: html.unescape(value) for name, value in rows}


@pytest.mark.promise("K-35", "B-02")
def test_credential__made__tells_its_secret_and_key_once_and_keeps_a_hash(person: Client, site: Site) -> None:
    response = save(person, reverse("admin:api_credential_add"), name="Mobile", sites=[site.pk])

    secrets = told(text_of(response))
    credential = Credential.objects.get(name="Mobile")
    assert credential.scopes == ["send"]
    assert secrets["Client id"] == credential.client_id
    assert credential.secret_hash == hash_secret(secrets["Secret"])
    key = json.loads(base64.b64decode(secrets["API key, for Segment"]))
    assert key == {"id": credential.client_id, "secret": secrets["Secret"]}
    assert secrets["Sitecode of Shop"] == "1q2w3e4r5t"
    assert "no-store" in response["Cache-Control"]
    page = reverse("admin:api_credential_change", args=[credential.pk])
    assert credential.client_id in text_of(person.get(page))
    assert secrets["Secret"] not in text_of(person.get(page))
    assert not list(get_messages(response.wsgi_request))
    assert secrets["Secret"] not in everything_stored()


def everything_stored() -> str:
    """Every row of every table, as text."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            found += [row[0] for row in cursor.fetchall()]
    return "\n".join(found)


@pytest.mark.promise("K-35")
def test_credential__renewed__has_another_secret(person: Client, site: Site) -> None:
    credential = Credential.objects.get()

    response = save(person, reverse("admin:api_credential_change", args=[credential.pk]), _renew="1")

    old = credential.secret_hash
    credential.refresh_from_db()
    assert credential.secret_hash == hash_secret(told(text_of(response))["Secret"]) != old


def test_credential__revoked__and_allowed_again(person: Client, site: Site) -> None:
    credential = Credential.objects.get()
    path = reverse("admin:api_credential_change", args=[credential.pk])

    assert 'name="_revoke"' in text_of(person.get(path))
    save(person, path, _revoke="1")
    credential.refresh_from_db()
    assert credential.revoked_at is not None

    assert 'name="_allow_again"' in text_of(person.get(path))
    save(person, path, _allow_again="1")
    credential.refresh_from_db()
    assert credential.revoked_at is None


def test_credential__its_scopes__are_ticked_and_one_is_needed(person: Client, site: Site) -> None:
    credential = Credential.objects.get()
    path = reverse("admin:api_credential_change", args=[credential.pk])

    save(person, path, scopes=["manage", "read"])
    credential.refresh_from_db()
    assert set(credential.scopes) == {"read", "manage"}
    assert person.post(path, {"name": "Segment", "sites": [site.pk], "scopes": []}).status_code == 200
    credential.refresh_from_db()
    assert credential.scopes


@pytest.mark.parametrize("client_id", ["a b", "a&b", "é", "", "a" * 65])
def test_credential__with_an_id_that_no_url_carries__is_refused(person: Client, client_id: str) -> None:
    path = reverse("admin:api_credential_add")

    assert "errorlist" in text_of(save(person, path, client_id=client_id))


def test_source__made__has_a_write_key(person: Client, site: Site) -> None:
    response = save(person, reverse("admin:api_source_add"), site=site.pk, name="Web", kind="browser")

    assert response.status_code == 302, response.content
    assert len(Source.objects.get(name="Web").write_keys.get().key) == 32


def test_source__second_destination_of_a_site__is_refused(person: Client, site: Site) -> None:
    path = reverse("admin:api_source_add")

    assert "is violated" in text_of(save(person, path, site=site.pk, name="Two", kind="destination"))


# Goals


@pytest.fixture
def goal(site: Site) -> Goal:
    return Goal.objects.get()


def change_page(goal: Goal) -> str:
    return reverse("admin:goals_goal_change", args=[goal.pk])


def test_goal__made_by_a_person__says_so(person: Client, site: Site) -> None:
    response = save(person, reverse("admin:goals_goal_add"), site=site.pk, name=" Purchase", tag_names="shop\r\na, b")

    assert response.status_code == 302, response.content
    made = Goal.objects.get(name=" Purchase")
    assert (made.origin, made.is_named_by_event) == (Goal.Origin.PERSON, False)
    assert {tag.name for tag in made.tags.all()} == {"shop", "a, b"}


@pytest.mark.promise("K-19")
@pytest.mark.parametrize("page", ["add", "change"])
def test_goal__name_of_another__is_refused_on_the_page(person: Client, site: Site, goal: Goal, page: str) -> None:
    other = catalogue.create_goal(Goal(site=site, name="Other"), template=TEMPLATE)
    path = change_page(other) if page == "change" else reverse("admin:goals_goal_add")

    shown = text_of(save(person, path, site=site.pk, name=goal.name))

    assert f"Goal {goal.pk} of this site has this name." in shown


def test_goal__name_of_a_deleted_one_or_of_another_site__is_free(person: Client, site: Site, goal: Goal) -> None:
    catalogue.delete_goal(goal, now=timezone.now())
    elsewhere = create_site(name="Elsewhere")
    catalogue.create_goal(Goal(site=elsewhere, name="Twin"), template=TEMPLATE)

    for name in (goal.name, "Twin"):
        assert save(person, reverse("admin:goals_goal_add"), site=site.pk, name=name).status_code == 302


@pytest.mark.promise("K-15")
def test_goal__renamed__is_a_persons_from_now_on(person: Client, goal: Goal) -> None:
    assert save(person, change_page(goal), name="Purchase").status_code == 302

    goal.refresh_from_db()
    assert (goal.name, goal.is_named_by_event) == ("Purchase", False)
    assert not GoalBinding.objects.filter(event_name="Buy").exists()


def test_goal__renamed_and_keeping_its_events__is_bound(person: Client, goal: Goal) -> None:
    save(person, change_page(goal), name="Purchase", keeps_receiving="on")

    binding = GoalBinding.objects.get(event_name="Buy")
    assert (binding.goal_id, binding.event_type) == (goal.pk, "track")


@pytest.mark.parametrize("name", ["SegmentIO track – Buy", " x ", "a\nb", "a\r\nb"])
def test_goal__saved_without_a_new_name__keeps_it_to_the_byte(person: Client, goal: Goal, name: str) -> None:
    Goal.objects.update(name=name)
    catalogue.set_tags(goal, ["Ödd tag"])

    # A browser's text field loses line ends.
    response = save(person, change_page(goal), name=name.replace("\r", "").replace("\n", ""), description="What counts")

    assert response.status_code == 302, response.content
    goal.refresh_from_db()
    assert (goal.name, goal.is_named_by_event, goal.description) == (name, True, "What counts")
    assert {tag.name for tag in goal.tags.all()} == {"Ödd tag"}


def test_goal__tags__are_added_and_taken(person: Client, goal: Goal) -> None:
    save(person, change_page(goal), tag_names="shop\nsegment.io")
    assert {tag.name for tag in goal.tags.all()} == {"shop", "segment.io"}

    save(person, change_page(goal), tag_names="")
    assert not goal.tags.exists()


@pytest.mark.promise("K-18")
def test_goal__deleted__is_gone_from_every_page_with_its_conversions(person: Client, goal: Goal) -> None:
    path = reverse("admin:goals_goal_delete", args=[goal.pk])
    assert "visitor-1" not in text_of(person.get(path))
    response = person.post(path, {"post": "yes"})

    assert response.status_code == 302, response.content
    goal.refresh_from_db()
    assert goal.deleted_at is not None
    assert Conversion.objects.exists()  # purged later, in chunks
    assert change_page(goal) not in text_of(person.get(reverse("admin:goals_goal_changelist")))
    assert person.get(change_page(goal)).status_code == 302
    assert "visitor-1" not in text_of(person.get(reverse("admin:goals_conversion_changelist")))


@pytest.mark.promise("K-09")
def test_goals__by_tag__are_filtered_from_the_side_panel(person: Client, site: Site, goal: Goal) -> None:
    catalogue.create_goal(Goal(site=site, name="By hand"), tags=["shop"], template=TEMPLATE)
    path = reverse("admin:goals_goal_changelist")

    everything = text_of(person.get(path))
    filtered = text_of(person.get(f"{path}?tag=segment.io"))

    assert 'href="?tag=segment.io"' in everything
    assert "By hand" in everything
    assert "SegmentIO track – Buy" in filtered
    assert "By hand" not in filtered


def test_goals__by_status__are_filtered(person: Client, site: Site, goal: Goal) -> None:
    archived = catalogue.create_goal(Goal(site=site, name="Put aside"), template=TEMPLATE)
    catalogue.archive_goal(archived, now=timezone.now())
    path = reverse("admin:goals_goal_changelist")

    assert "Put aside" in text_of(person.get(f"{path}?status=INACTIVE"))
    assert "Put aside" not in text_of(person.get(f"{path}?status=ACTIVE"))


@pytest.mark.promise("K-21")
def test_goal__made_by_an_event__says_that_events_convert_it_and_when_last(person: Client, goal: Goal) -> None:
    shown = text_of(person.get(change_page(goal)))

    assert "Converted automatically by Segment events. Last one seen: 2026-11-22 03:00:00 UTC." in shown
    assert "JavaScript" not in shown


def test_tag__deleted__leaves_its_goals(person: Client, goal: Goal) -> None:
    path = reverse("admin:goals_tag_delete", args=[Tag.objects.get().pk])

    assert person.post(path, {"post": "yes"}).status_code == 302

    assert not goal.tags.exists()


def test_binding__made__gives_the_event_to_the_goal(person: Client, site: Site, goal: Goal) -> None:
    other = catalogue.create_goal(Goal(site=site, name="Other"), template=TEMPLATE)
    path = reverse("admin:goals_goalbinding_add")

    # "Bought" is bound to the first goal: it moves.
    response = save(person, path, goal=other.pk, event_type="track", event_name="Bought")

    assert response.status_code == 302, response.content
    (binding,) = GoalBinding.objects.all()
    assert (binding.goal_id, binding.site_id) == (other.pk, site.pk)


def test_binding__deleted__is_taken_back(person: Client, goal: Goal) -> None:
    path = reverse("admin:goals_goalbinding_delete", args=[GoalBinding.objects.get().pk])

    assert person.post(path, {"post": "yes"}).status_code == 302

    assert not GoalBinding.objects.exists()

"""`/api/sites`: the sites of a caller, their settings and their audit log."""

from typing import Any

import pytest

from api.ingest.provisioning import SITE_SETTINGS, create_site
from api.models import AuditEntry, ManagementToken, Site, Source
from api.pages.settings.site import SiteForm
from tests.support.management_api import Caller, body, message, refusal
from tests.support.rest_access import holder_of
from tests.world import SITECODE, World

PATH = f"/api/sites/{SITECODE}"


def test_sites__of_a_caller__are_listed_with_their_settings(world: World, teammate: Caller) -> None:
    shown = teammate.get("/api/sites")

    assert [site["name"] for site in shown] == ["Shop", "Second shop"]
    assert shown[0]["publicTraits"] == ["plan"]
    assert shown[0]["goalsPer10Seconds"] == 50
    assert shown[0] == teammate.get(PATH)


def test_settings__of_the_api__are_those_of_the_page() -> None:
    assert sorted(SITE_SETTINGS) == sorted(SiteForm.Meta.fields)


@pytest.mark.parametrize(
    ("change", "has_meaning"), [({"requiresToken": True, "keepsDoneDays": None}, False), ({"autoTag": "x"}, True)]
)
def test_settings__changed__are_saved_and_audited(
    world: World, owner: Caller, change: dict[str, Any], *, has_meaning: bool
) -> None:
    answer = owner.patch(PATH, {**change, "sitecode": SITECODE, "name": "Shop"})

    assert answer.status_code == 200
    assert {name: body(answer)[name] for name in change} == change
    assert {name: owner.get(PATH)[name] for name in change} == change
    entry = AuditEntry.objects.get()
    assert entry.what == "Changed the site's settings"
    assert entry.who == f"credential {owner.credential.client_id}"
    assert len(entry.after or {}) == 1
    assert (Site.objects.get().rules_changed_at is not None) == has_meaning


@pytest.mark.parametrize(
    "change",
    [
        {"sitecode": "aaaaaaaaaa"},
        {"goalNameTemplate": "without names"},
        {"keepsDoneDays": 3},
        {"defaultCurrency": "dollars"},
        {"publicTraits": "plan"},
        {"goalsPerHour": 0},
    ],
)
def test_settings__wrong__are_400_and_change_nothing(world: World, owner: Caller, change: dict[str, Any]) -> None:
    before = owner.get(PATH)

    answer = owner.patch(PATH, change)

    assert refusal(answer) == (400, "invalid_request")
    assert next(iter(change)) in message(answer)
    assert owner.get(PATH) == before


def test_site__created_by_an_administrator__is_opened_by_the_token(world: World) -> None:
    root = holder_of(world, is_superuser=True)

    first, again = (root.ask("POST", "/api/sites", {"name": "New"}, **{"idempotency-key": "a"}) for _ in range(2))

    assert (first.status_code, again.content) == (201, first.content)
    made = Site.objects.get(name="New")
    assert body(first)["sitecode"] == made.sitecode
    assert Source.objects.get(site=made).kind == "destination"
    assert root.get(f"/api/sites/{made.sitecode}")["id"] == made.pk
    assert AuditEntry.objects.get(site=made).what == f"Created the site {made.sitecode}"
    assert set(ManagementToken.objects.get().sites.all()) == {world.site, made}


def test_site__created_by_others__is_403(world: World, owner: Caller) -> None:
    for caller in (owner, holder_of(world)):
        answer = caller.post("/api/sites", {"name": "New"})
        assert refusal(answer) == (403, "forbidden")
        assert "administrator" in message(answer)
    assert Site.objects.count() == 1


@pytest.mark.parametrize(
    "fields", [{"name": ""}, {"name": "A", "sitecode": "short"}, {"name": "A", "sitecode": SITECODE}]
)
def test_site__that_cannot_be__is_400(world: World, fields: dict[str, str]) -> None:
    answer = holder_of(world, is_superuser=True).post("/api/sites", fields)

    assert refusal(answer) == (400, "invalid_request")
    assert Site.objects.count() == 1


def test_audit_log__in_pages__has_each_entry_once(world: World, owner: Caller) -> None:
    for number in range(5):
        owner.patch(PATH, {"name": f"Shop {number}"})
    AuditEntry.objects.create(site=create_site(name="Else"), who="x", at=world.site.created_at, what="Elsewhere")

    seen, query = [], "limit=2"
    while query:
        page = owner.get(f"{PATH}/audit-log?{query}")
        seen += page["results"]
        query = f"limit=2&before={page['next']}" if page["next"] else ""

    assert [entry["after"]["name"] for entry in seen] == [f"Shop {number}" for number in (4, 3, 2, 1, 0)]
    assert seen[-1]["before"] == {"name": "Shop"}


def test_audit_log__filtered__has_what_was_asked_for(world: World, owner: Caller) -> None:
    owner.patch(PATH, {"name": "New"})
    at = owner.get(f"{PATH}/audit-log")["results"][0]["at"].replace("+", "%2B")
    who = f"credential%20{owner.credential.client_id}"

    counts = {
        query: len(owner.get(f"{PATH}/audit-log?{query}")["results"])
        for query in (f"who={who}", "who=ada", "what=SETTINGS", "what=goal", f"since={at}", f"until={at}")
    }

    assert list(counts.values()) == [1, 0, 1, 0, 1, 0]

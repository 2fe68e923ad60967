"""The operator's own keys of remote data in the management API."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from api.models import AuditEntry
from cohorts.models import OwnKey
from tests.support.management_api import Caller, refusal
from tests.world import SITECODE, World

PATH = f"/api/sites/{SITECODE}/remote-data"


def keep(world: World, key: str, document: str = '{"theme": "dark"}', *, hours: float = 1) -> OwnKey:
    now = datetime.now(UTC)
    return OwnKey.objects.create(
        site=world.site, key=key, document=document, expires_at=now + timedelta(hours=hours), updated_at=now
    )


def test_own_keys__of_a_site__are_listed_in_pages_without_their_objects(world: World, owner: Caller) -> None:
    for key in ("c", "a", "b/1"):
        keep(world, key)
    keep(world, "expired", hours=-1)

    first = owner.get(f"{PATH}?limit=2")
    second = owner.get(f"{PATH}?limit=2&start={quote(first['next'], safe='')}")

    assert [row["key"] for row in first["results"] + second["results"]] == ["a", "b/1", "c"]
    assert second["next"] is None
    assert first["results"][0].keys() == {"key", "bytes", "expiresAt", "dateModified"}
    assert first["results"][0]["bytes"] == 17


def test_own_key__read__has_its_object(world: World, owner: Caller) -> None:
    keep(world, "prefs/ü 1", '{"theme": "dark", "sizes": [1, 2]}')

    assert owner.get(f"{PATH}/{quote('prefs/ü 1', safe='')}")["value"] == {"theme": "dark", "sizes": [1, 2]}
    assert refusal(owner.ask("GET", f"{PATH}/other")) == (404, "not_found")


def test_own_key__that_expired__is_not_found(world: World, owner: Caller) -> None:
    keep(world, "old", hours=-1)

    assert refusal(owner.ask("GET", f"{PATH}/old")) == (404, "not_found")
    assert refusal(owner.ask("DELETE", f"{PATH}/old")) == (404, "not_found")


def test_own_key__deleted__is_read_as_empty_and_noted_without_its_name(world: World, owner: Caller) -> None:
    kept = keep(world, "ada@example.com")
    assert world.read("ada@example.com") == {"theme": "dark"}

    assert owner.ask("DELETE", f"{PATH}/ada@example.com").status_code == 204

    assert world.read("ada@example.com") == {}
    entry = AuditEntry.objects.get(what__startswith="Deleted")
    assert entry.what == f"Deleted the own key {kept.pk} of remote data"
    assert entry.before is not None
    assert entry.before["bytes"] == 17
    assert "ada" not in f"{entry.what}{entry.before}{entry.after}"

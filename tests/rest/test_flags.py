"""Requests of `/api/flags`, which change what SDKs read."""

import copy
from typing import Any

from api.ingest.provisioning import create_site
from api.models import AuditEntry
from goals.flags.models import Environment, FeatureFlag
from tests.support.management_api import Caller, body, message, refusal
from tests.support.sdk_file import FILE
from tests.world import SITECODE, World

FLAGS = {name: FILE[name] for name in ("featureFlags", "segments", "customData")}


def served(world: World) -> Any:
    return world.client.get(f"/v3/{SITECODE}", headers={"host": "sdk-config.shop.example"}).json()


def test_flags__imported__are_listed_switched_and_deleted(world: World, owner: Caller) -> None:
    tried = owner.post("/api/flags", {**FLAGS, "isTry": True})
    assert body(tried)["created"] == ["persona_flag", "plan_flag"]
    assert not FeatureFlag.objects.exists()

    imported = owner.post("/api/flags", FLAGS)
    assert (imported.status_code, body(imported)["segments"], body(imported)["customData"]) == (200, [7, 9], [1, 3, 4])
    first, second = owner.get("/api/flags")
    assert (first["key"], first["version"], first["enabledIn"]) == ("persona_flag", 1, ["production"])

    path = f"/api/flags/{second['id']}"
    assert body(owner.patch(path, {"isEnabled": True}))["enabledIn"] == ["production"]
    assert served(world)["featureFlags"][1]["environmentEnabled"] is True
    assert "environment: " in message(owner.patch(path, {"environment": "staging", "isEnabled": True}))
    Environment.objects.create(site=world.site, name="staging")
    both = owner.patch(path, {"environment": "staging", "isEnabled": True})
    assert body(both)["enabledIn"] == ["production", "staging"]
    assert owner.ask("DELETE", path).status_code == 204
    assert [flag["featureKey"] for flag in served(world)["featureFlags"]] == ["persona_flag"]
    assert [entry.what for entry in AuditEntry.objects.order_by("pk")] == [
        "Imported 2 feature flags",
        "Switched the flag “plan_flag” on in production",
        "Switched the flag “plan_flag” on in staging",
        "Deleted the flag “plan_flag”",
    ]


def test_flags__with_a_trap__are_not_imported_and_name_it(world: World, owner: Caller) -> None:
    file = copy.deepcopy(FLAGS)
    file["featureFlags"][0]["rules"][0]["segmentId"] = 8

    result = body(owner.post("/api/flags", file))

    assert [problem["place"] for problem in result["problems"]] == ["featureFlags[0].rules[0].segmentId"]
    assert result["created"] == []
    assert not FeatureFlag.objects.exists()


def test_rows__of_another_site__are_not_found(world: World, owner: Caller) -> None:
    other = create_site(name="Other")
    flag = FeatureFlag.objects.create(site=other, key="a", document={})

    for method in ("GET", "PATCH", "DELETE"):
        assert refusal(owner.ask(method, f"/api/flags/{flag.pk}", {"isEnabled": True}))[0] == 404, method
    assert owner.get("/api/flags") == []
    assert owner.post("/api/flags", {**FLAGS, "sitecode": other.sitecode}).status_code == 404

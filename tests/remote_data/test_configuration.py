"""`GET /v3/<sitecode>`: what every SDK needs is there, nothing else, and each answer is as new as the last commit."""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.http import Http404
from pytest_django import DjangoAssertNumQueries

from api.http.database import DatabaseDownError
from api.ingest.provisioning import create_site
from api.models import AuditEntry, SdkConfiguration
from api.models.sdk_configuration import note_configuration_changed
from api.remote_data import configuration
from api.remote_data import configuration_changes as changes
from api.remote_data.definitions import delete_definition, save_definition
from api.remote_data.flag_import import Import, import_file
from cohorts.custom_data import definition_of
from cohorts.models import CustomData
from goals.flags.models import Environment, FeatureFlag, FlagVersion, ImportedSegment
from tests.support.asgi import pending
from tests.support.sdk_file import FILE, change
from tests.world import SITECODE, World

HOST = "sdk-config.goalpost.example"


def get(world: World, query: str = "", **headers: str) -> httpx.Response:
    given = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return world.client.get(f"/v3/{SITECODE}{query}", headers=given)


def load(world: World, file: Any = FILE, environment: str = "production", **options: Any) -> Import:
    now = datetime.now(UTC)
    return import_file(world.site, json.dumps(file), environment=environment, actor="ada", now=now, **options)


def test_file__of_a_new_site__has_every_section_and_no_null(world: World) -> None:
    answer = get(world)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "configuration": {
            "dataApiDomain": "data.goalpost.example",
            "realTimeUpdate": False,
            "consentType": "NOT_REQUIRED",
            "consentOptOutBehavior": "PARTIALLY_BLOCK",
        },
        "customData": [],
        "segments": [],
        "featureFlags": [],
        "dateModified": 1767225600000,
    }
    assert (answer.headers["access-control-allow-origin"], answer.headers["cache-control"]) == ("*", "no-cache")


def test_file__imported__is_served_as_it_was(world: World) -> None:
    result = load(world)

    assert result.problems == []
    served = get(world).json()
    assert served["featureFlags"] == FILE["featureFlags"]
    assert served["segments"] == FILE["segments"]
    assert served["customData"] == [{**entry, "id": entry["index"]} for entry in FILE["customData"]]
    assert get(world, f"/?environment=production&ts={served['dateModified']}").json() == served


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        (HOST, "data.goalpost.example"),
        ("SDK-Config.Goalpost.Example:443", "data.goalpost.example"),
        ("goalpost.example", "data.goalpost.example"),
        ("data.goalpost.example", "data.goalpost.example"),
        ("sdk-config.localhost", "data.localhost"),
        ("127.0.0.1:8000", "data.127.0.0.1"),
        ('"/><script>', "data.localhost"),
    ],
)
def test_domain__of_visitor_data__is_that_of_the_host_asked(world: World, host: str, domain: str) -> None:
    assert get(world, host=host).json()["configuration"]["dataApiDomain"] == domain


def test_last_modified__sent_back_byte_for_byte__is_304_until_a_change(world: World) -> None:
    load(world)
    first = get(world)
    stamp = first.headers["last-modified"]

    unchanged = get(world, if_modified_since=stamp)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["last-modified"] == stamp
    # A later date is another string, and no SDK sends one.
    assert get(world, if_modified_since="Fri, 01 Jan 2100 00:00:00 GMT").status_code == 200

    stamps = {stamp}
    for number in range(3):
        with transaction.atomic():
            note_configuration_changed(world.site.pk, now=datetime.now(UTC))
            CustomData.objects.create(site=world.site, index=50 + number, name=str(number))
        answer = get(world, if_modified_since=stamp)
        assert (answer.status_code, len(answer.json()["customData"])) == (200, 4 + number)
        stamps.add(answer.headers["last-modified"])
    assert len(stamps) == 4  # also of changes in one second


def test_version__of_a_change_that_is_rolled_back__stays(world: World) -> None:
    load(world)
    before = get(world)

    with transaction.atomic():
        note_configuration_changed(world.site.pk, now=datetime.now(UTC))
        FeatureFlag.objects.all().delete()
        transaction.set_rollback(True)

    assert get(world, if_modified_since=before.headers["last-modified"]).status_code == 304
    assert get(world).content == before.content


def test_environment__of_a_site__has_its_own_switches_and_version(world: World) -> None:
    load(world)
    Environment.objects.create(site=world.site, name="staging")
    flipped = copy.deepcopy(FILE)
    for flag in flipped["featureFlags"]:
        flag["environmentEnabled"] = not flag["environmentEnabled"]
    result = load(world, flipped, "staging")

    production, staging = get(world), get(world, "?environment=staging")

    assert result.saved is not None
    assert (result.saved.created, result.saved.changed) == ([], ["plan_flag"])
    assert [flag["environmentEnabled"] for flag in production.json()["featureFlags"]] == [True, False]
    assert [flag["environmentEnabled"] for flag in staging.json()["featureFlags"]] == [False, True]
    assert FlagVersion.objects.count() == 2  # the documents are the same
    # The JavaScript SDK sends the stamp of its last file, whatever environment that was of.
    stamp = production.headers["last-modified"]
    assert get(world, "?environment=staging", if_modified_since=stamp).status_code == 200
    unknown = get(world, "?environment=stagin")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_environment")
    assert get(world, f"?environment={'x' * 5_000}").status_code == 404


@pytest.mark.parametrize("name", ["%00", "a%00b", "%ED%A0%80", "Staging", "-a", "%0A"])
def test_environment__that_no_site_can_have__is_unknown(world: World, name: str) -> None:
    answer = get(world, f"?environment={name}")

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_environment")


def test_environment__that_is_unknown__costs_no_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "READ_FILE", "no statement")

    assert get(world, "?environment=staging").status_code == 404


def test_file__that_cannot_be_built__fails_no_other_call_of_its_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_site(name="Other")
    FeatureFlag.objects.create(site=other, key="broken", document=[])
    calls = [pending((other.pk, "production")), pending((world.site.pk, "production"))]

    configuration._serve(calls)

    assert [call.error is None for call in calls] == [False, True]
    assert not isinstance(calls[0].error, DatabaseDownError)


def test_flag__without_an_id__takes_none_of_another_flag(world: World) -> None:
    load(world)
    bare = {**FILE["featureFlags"][1], "rules": []}
    del bare["id"]
    load(world, {"featureFlags": [{**bare, "featureKey": "bare"}]})
    taken = FeatureFlag.objects.get(key="bare").pk
    load(world, {"featureFlags": [{**bare, "featureKey": "with id", "id": taken}]})

    ids = {flag["featureKey"]: flag["id"] for flag in get(world).json()["featureFlags"]}

    assert (ids["with id"], ids["bare"]) == (taken, taken + 1)
    assert len(set(ids.values())) == 4


def test_changes__of_what_was_deleted_meanwhile__are_not_found_and_not_logged(world: World) -> None:
    load(world)
    environment = Environment.objects.create(site=world.site, name="staging")
    gone, flag = FeatureFlag.objects.all()
    FeatureFlag.objects.filter(pk=gone.pk).delete()
    Environment.objects.filter(pk=environment.pk).delete()
    logged, now = AuditEntry.objects.count(), datetime.now(UTC)

    with pytest.raises(Http404):
        changes.switch_flag(gone, "production", is_on=True, actor="ada", now=now)
    with pytest.raises(Http404):
        changes.switch_flag(flag, "staging", is_on=True, actor="ada", now=now)
    with pytest.raises(Http404):
        changes.delete_flag(gone, actor="ada", now=now)
    with pytest.raises(Http404):
        changes.delete_environment(environment, actor="ada", now=now)
    assert AuditEntry.objects.count() == logged


def test_definition__that_was_deleted_meanwhile__is_not_found_and_not_logged(world: World) -> None:
    load(world)
    row = CustomData.objects.get(index=4)
    CustomData.objects.filter(pk=row.pk).delete()
    logged, now = AuditEntry.objects.count(), datetime.now(UTC)

    with pytest.raises(Http404):
        delete_definition(row, by="ada", now=now)
    with pytest.raises(Http404):
        save_definition(world.site, definition_of(row), row=row, by="ada", now=now)
    assert AuditEntry.objects.count() == logged
    assert not CustomData.objects.filter(index=4).exists()


def test_rule__whose_segment_is_withheld__is_withheld_too(world: World) -> None:
    load(world)
    ImportedSegment.objects.filter(number=7).delete()  # the segment 9 names it
    note_configuration_changed(world.site.pk, now=datetime.now(UTC))

    served = get(world).json()

    assert served["segments"] == []
    assert [flag["rules"] for flag in served["featureFlags"]] == [[], []]


@pytest.mark.parametrize("path", ["/v3/aaaaaaaaaa", "/v3/", "/v3/x/y", "/v3/AAAAAAAAAA", "/v3/1q2w3e4r5t/x"])
def test_site__unknown__is_404_with_a_message_for_pages(world: World, path: str) -> None:
    answer = world.client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_site")
    assert "sitecode" in answer.json()["message"]
    assert answer.headers["access-control-allow-origin"] == "*"


def test_preflight__of_an_sdk__is_allowed_for_a_day(world: World) -> None:
    names = "if-modified-since,x-kameleoon-sdk-type,x-kameleoon-sdk-version"
    headers = {"access-control-request-method": "GET", "access-control-request-headers": names}

    answer = world.client.options(f"/v3/{SITECODE}", headers={"origin": "https://shop.example", **headers})

    assert answer.status_code == 204
    assert answer.headers["access-control-allow-headers"] == names
    assert answer.headers["access-control-max-age"] == "86400"


def test_sites__of_one_process__get_their_own_files(world: World) -> None:
    load(world)
    create_site(name="Other", sitecode="5t4r3e2w1q")

    other = world.client.get("/v3/5t4r3e2w1q", headers={"host": HOST})

    assert other.json()["featureFlags"] == []
    assert len(get(world).json()["featureFlags"]) == 2


def test_import__with_a_problem_or_to_try__saves_nothing(world: World) -> None:
    wrong = load(world, change("featureFlags", 0, "rules", 0, "segmentId", to=12))
    tried = load(world, is_try=True)

    assert [problem.place for problem in wrong.problems] == ["featureFlags[0].rules[0].segmentId"]
    assert tried.saved is not None
    assert (tried.saved.created, tried.saved.segments) == (["persona_flag", "plan_flag"], [7, 9])
    assert load(world, environment="staging").problems[0].place == "environment"
    for model in (FeatureFlag, FlagVersion, ImportedSegment, CustomData, AuditEntry, SdkConfiguration):
        assert model.objects.count() == 0, model


def test_import__that_closes_a_circle_with_a_stored_segment__saves_nothing(world: World) -> None:
    load(world)
    before = get(world).json()
    lead = {"targetingType": "SEGMENT", "isInclude": True, "segmentId": 9}  # this leads to 7
    file = change("segments", 0, "conditionsData", "firstLevel", 0, "conditions", 0, to=lead)
    file["segments"] = file["segments"][:1]

    result = load(world, file)

    assert [problem.place for problem in result.problems] == ["segments[0]"]
    assert get(world).json() == before


def test_import__again_and_with_a_change__keeps_versions_and_definitions(world: World) -> None:
    load(world)
    CustomData.objects.filter(index=1).update(name="audiences")
    again = load(world)
    changed = load(world, change("featureFlags", 0, "rules", 0, "exposition", to=0.25))

    assert again.saved is not None
    assert again.saved.unchanged == ["persona_flag", "plan_flag"]
    assert again.kept == [1]
    assert changed.saved is not None
    assert changed.saved.changed == ["persona_flag"]
    flag = FeatureFlag.objects.get(key="persona_flag")
    assert [(version.number, version.saved_by) for version in flag.versions.all()] == [(2, "ada"), (1, "ada")]
    assert flag.document["rules"][0]["exposition"] == 0.25
    assert CustomData.objects.get(index=1).name == "audiences"
    last = AuditEntry.objects.order_by("-pk")[0]
    assert last.what == "Imported 2 feature flags"
    assert (last.after or {})["changed"] == ["persona_flag"]


def test_import__of_custom_data_that_the_site_cannot_have__is_a_problem(world: World) -> None:
    CustomData.objects.create(site=world.site, index=9, name="secret", is_mapping_identifier=True)

    places = [problem.place for problem in load(world).problems]

    assert places == ["customData[1].isMappingIdentifier", "customData[2].name"]


def test_import__costs__the_same_queries_for_more_flags(
    world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    flags = [
        {**FILE["featureFlags"][1], "id": number, "featureKey": f"flag {number}", "rules": []}
        for number in range(1, 100)
    ]
    with django_assert_num_queries(14):
        load(world, {"featureFlags": flags})


def test_command__with_a_file__imports_it_or_names_its_problems(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(FILE))
    bad.write_text(json.dumps(change("segments", 0, "conditionsData", to=None)))

    call_command("import_flags", SITECODE, good, "--dry-run")
    assert "would import: 2 flags created" in capsys.readouterr().out
    assert FeatureFlag.objects.count() == 0
    with pytest.raises(CommandError, match="nothing was imported"):
        call_command("import_flags", SITECODE, bad)
    assert "segments[0].conditionsData: " in capsys.readouterr().err
    call_command("import_flags", SITECODE, good)
    assert "2 flags created, 0 changed, 0 unchanged; 2 segments; 3 custom data" in capsys.readouterr().out
    assert len(get(world).json()["featureFlags"]) == 2
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("import_flags", SITECODE, tmp_path / "none.json")

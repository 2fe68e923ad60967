"""Pages of custom data and feature flags: forms, imports with their problems, switches, environments and deletions."""

import json
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from api.models import AuditEntry, SdkConfiguration, Site
from cohorts.custom_data import LARGEST_INDEX
from cohorts.models import CustomData
from goals.flags.models import Environment, FeatureFlag, ImportedSegment
from tests.support.pages import text_of
from tests.support.sdk_file import FILE
from tests.support.sdk_file import change as change_file
from tests.support.settings_pages import BASE, change, last_entry, look

CITY = {
    "index": "1",
    "name": "city",
    "type": "UNIQUE",
    "format": "STRING",
    "scope": "VISITOR",
    "filled_from": "trait",
    "filling": "address.city",
}


def load(owner: Client, file: Any = FILE, **fields: Any) -> Any:
    return owner.post(BASE + "flags/import/", {"do": "import", "text": json.dumps(file), **fields})


def test_custom_data__created_changed_and_deleted__is_listed_and_logged(owner: Client, site: Site) -> None:
    change(owner, "custom-data/new/", **CITY)
    row = CustomData.objects.get()
    assert "address.city" in look(owner, "custom-data/")
    change(owner, f"custom-data/{row.pk}/", **{**CITY, "name": "town"})
    assert last_entry() == ("Changed the custom data 1", {"name": "city"}, {"name": "town"})
    change(owner, f"custom-data/{row.pk}/remove/")

    assert not CustomData.objects.exists()
    assert SdkConfiguration.objects.filter(site=site).exists()  # SDKs get another version


def test_custom_data__new_after_the_largest_index__gets_a_free_one(owner: Client, site: Site) -> None:
    CustomData.objects.create(site=site, index=LARGEST_INDEX, name="last")

    assert '<input type="number" name="index" value="1"' in owner.get(BASE + "custom-data/new/").text


def test_custom_data__that_cannot_be__names_the_field_and_saves_nothing(owner: Client, site: Site) -> None:
    CustomData.objects.create(site=site, index=1, name="plan")

    response = owner.post(BASE + "custom-data/new/", {**CITY, "filling": "a..b"})

    assert response.status_code == 400
    page = response.content.decode()
    assert "“plan” has the index 1 already." in page
    assert "Enter the path of a trait" in page
    assert CustomData.objects.count() == 1


def test_flags__imported_by_text_or_upload__are_listed_with_their_segments(owner: Client, site: Site) -> None:
    tried = load(owner, do="try")
    assert "An import would give: 2 flags created" in text_of(tried)
    assert not FeatureFlag.objects.exists()

    assert load(owner).status_code == 302
    again = owner.post(
        BASE + "flags/import/", {"do": "import", "file": SimpleUploadedFile("v3.json", json.dumps(FILE).encode())}
    )

    assert again.status_code == 302
    page = look(owner, "flags/")
    assert all(text in page for text in ("persona_flag", "production: on", "production: off", "is a big spender"))
    ImportedSegment.objects.filter(number=7).delete()
    assert "not served" in look(owner, "flags/")
    flag = FeatureFlag.objects.get(key="persona_flag")
    assert "Version 1, " in look(owner, f"flags/{flag.pk}/")


def test_flags__with_problems__show_each_with_its_place(owner: Client, site: Site) -> None:
    response = load(owner, change_file("featureFlags", 0, "rules", 0, "segmentId", to=8))

    assert response.status_code == 400
    assert "featureFlags[0].rules[0].segmentId" in response.content.decode()
    assert load(owner, {"a": 1}).status_code == 400
    assert not FeatureFlag.objects.exists()


def test_flag__switched_and_deleted__asks_before_it_is_gone(owner: Client, site: Site) -> None:
    load(owner)
    change(owner, "flags/environments/", do="create", name="staging")
    flag = FeatureFlag.objects.get(key="plan_flag")

    change(owner, "flags/change/", do="switch", flag=flag.pk, environment="staging")
    flag.refresh_from_db()
    assert flag.enabled_in == ["staging"]
    asked = owner.post(BASE + "flags/change/", {"do": "delete", "flag": flag.pk})
    assert "The flag has 1 rule, and is on in staging." in text_of(asked)
    change(owner, "flags/change/", do="delete", flag=flag.pk)

    assert not FeatureFlag.objects.filter(key="plan_flag").exists()
    assert last_entry()[0] == "Deleted the flag “plan_flag”"
    assert owner.post(BASE + "flags/change/", {"do": "switch", "flag": FeatureFlag.objects.get().pk}).status_code == 404


def test_environment__deleted__loses_its_switches(owner: Client, site: Site) -> None:
    change(owner, "flags/environments/", do="create", name="staging")
    load(owner, environment="staging")
    environment = Environment.objects.get()
    assert FeatureFlag.objects.get(key="persona_flag").enabled_in == ["staging"]

    asked = owner.post(BASE + "flags/environments/", {"do": "delete", "environment": environment.pk})
    assert "1 flag" in text_of(asked)
    change(owner, "flags/environments/", do="delete", environment=environment.pk)

    assert not Environment.objects.exists()
    assert FeatureFlag.objects.get(key="persona_flag").enabled_in == []
    change(owner, "flags/environments/", do="create", name="Not a name")
    assert not Environment.objects.exists()


def test_settings_of_sdks__saved__are_served_and_logged(owner: Client, site: Site) -> None:
    change(owner, "flags/environments/", do="settings", has_real_time="on", opt_out="FULLY_BLOCK")

    row = SdkConfiguration.objects.get(site=site)
    assert (row.has_real_time, row.requires_consent, row.opt_out) == (True, False, "FULLY_BLOCK")
    assert AuditEntry.objects.order_by("pk").last().what == "Changed the settings of SDKs"  # type: ignore[union-attr]  # it exists
    change(owner, "flags/environments/", do="settings", opt_out="ALL")
    row.refresh_from_db()
    assert row.opt_out == "FULLY_BLOCK"

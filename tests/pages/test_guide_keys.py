"""Keys that the set-up guide creates where they are pasted."""

import html
from typing import Any

import pytest
from django.test import Client

from api.ingest.provisioning import create_source
from api.models import AuditEntry, Credential, Source
from api.pages.guide import ANSWERS, INTEGRATIONS
from tests.support.pages import text_of
from tests.world import World

BASE = "/admin/s/1q2w3e4r5t/guide/"


def create_key(owner: Client, way: str, **form: str) -> Any:
    return owner.post(f"{BASE}{way}/key/", form)


@pytest.mark.parametrize("way", ["function", "webhook"])
def test_api_key__created_in_the_guide__is_in_its_code_and_only_sends(world: World, owner: Client, way: str) -> None:
    Credential.objects.all().delete()
    assert 'class="gp-done"' not in text_of(owner.get(f"{BASE}{way}/"))

    response = create_key(owner, way, name="Segment")

    shown, key = html.unescape(text_of(response)), response.context["api_key"]
    assert shown.count(f"<code>{key}</code>") == 2  # in its step, and where it is pasted
    assert f"Authorization: Basic {key}" in shown
    sent = {"type": "track", "event": "Buy", "userId": "u"}
    assert world.post(sent, authorization=f"Basic {key}").status_code == 200
    credential = Credential.objects.get()
    assert (credential.name, credential.scopes) == ("Segment", ["send"])
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.what) == ("owner", f"Created the credential {credential.client_id}")
    again = html.unescape(text_of(owner.get(f"{BASE}{way}/")))
    assert key not in again
    assert "The credential “Segment" in again
    assert 'class="gp-done"' in again


def test_write_key__created_in_the_guide__is_of_a_new_source_of_its_kind(world: World, owner: Client) -> None:
    response = create_key(owner, "node", name="Shop server")

    source = world.site.sources.get(kind=Source.Kind.SERVER)
    assert response["Location"] == f"{BASE}node/?source={source.pk}"
    shown = html.unescape(text_of(owner.get(response["Location"])))
    assert source.name == "Shop server"
    assert source.write_keys.get().key in shown
    assert ">Create key</button>" not in shown
    assert AuditEntry.objects.get().what == f"Created the source {source.pk}"


def test_write_key__of_a_source_without_one__is_added_to_it(world: World, owner: Client) -> None:
    source = create_source(world.site, name="SDK", kind="server")
    source.write_keys.all().delete()
    assert "has no write key" in text_of(owner.get(f"{BASE}node/"))

    create_key(owner, "node")

    assert [row.pk for row in world.site.sources.filter(kind="server")] == [source.pk]
    assert source.write_keys.get().key in text_of(owner.get(f"{BASE}node/"))


def test_key__of_a_page_that_needs_none__is_absent(world: World, owner: Client) -> None:
    assert [create_key(owner, way).status_code for way in ("csp", "rules", "nothing")] == [404] * 3


def test_guide__asks_where_events_come_from__and_every_answer_leads_to_a_page(owner: Client) -> None:
    shown = text_of(owner.get(BASE))

    assert "Where do your events come from?" in shown
    named = {name for _, ways in ANSWERS for name, _ in ways}
    assert named <= {page.name for page in INTEGRATIONS}
    assert all(f'href="{BASE}{name}/"' in shown for name in named)

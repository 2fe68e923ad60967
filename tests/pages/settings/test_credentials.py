"""The credentials of a site: created, rotated, revoked, and narrowed."""

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from api.events.refusal import Refusal
from api.http.credentials import check_secret, check_token, clear_lookups, encode_api_key, hash_secret, issue_token
from api.http.database import connection_parameters
from api.ingest.provisioning import create_site, rotate_secret
from api.models import AuditEntry, Credential, Membership, Scope, Site
from tests.support.concurrency import count_lock_waits, in_threads, wait_until
from tests.support.pages import Enter, text_of
from tests.support.settings_pages import BASE, change, last_entry, look
from tests.world import CLIENT_ID, SECRET, SITECODE, World


@pytest.mark.promise("K-35", "I-29")
def test_credential__made_and_renewed__tells_its_secret_once(owner: Client, site: Site) -> None:
    response = owner.post(BASE + "credentials/change/", {"do": "create", "name": "SDK", "scope": "read"})
    secret = dict(response.context["secrets"])["Secret"]
    credential = Credential.objects.get(name="SDK")
    assert secret in text_of(response)
    assert credential.secret_hash == hash_secret(secret)
    assert list(credential.sites.all()) == [site]

    again = owner.post(
        BASE + "credentials/change/", {"do": "rotate", "credential": credential.pk, "hours": "0", "confirmed": "yes"}
    )

    renewed = dict(again.context["secrets"])["Secret"]
    credential.refresh_from_db()
    assert credential.secret_hash == hash_secret(renewed)
    for tab in ("credentials/", "changes/"):
        shown = look(owner, tab)
        assert credential.client_id in shown
        assert secret not in shown
        assert renewed not in shown
    assert response["Cache-Control"].count("no-store") == 1


def test_credential__made_for_several_sites__opens_those_that_its_maker_owns(owner: Client, site: Site) -> None:
    mine, foreign = create_site(name="Mine"), create_site(name="Foreign")
    Membership.objects.create(site=mine, user=User.objects.get(username="owner"), role="owner")
    assert mine.sitecode in look(owner, "credentials/")
    assert foreign.sitecode not in look(owner, "credentials/")

    fields = {"do": "create", "name": "Both", "scope": "send", "site": [mine.sitecode, foreign.sitecode]}
    owner.post(BASE + "credentials/change/", fields)

    assert set(Credential.objects.get(name="Both").sites.all()) == {site, mine}
    entries = AuditEntry.objects.filter(what__startswith="Created the credential")
    assert {entry.site for entry in entries} == {site, mine}


@pytest.mark.promise("K-35")
@pytest.mark.parametrize(("hours", "then"), [("0", 401), ("24", 200)])
def test_credential__renewed__goes_on_with_its_old_secret_as_long_as_told(
    owner: Client, world: World, hours: str, then: int
) -> None:
    response = owner.post(
        BASE + "credentials/change/",
        {"do": "rotate", "credential": world.credential.pk, "hours": hours, "confirmed": "yes"},
    )
    clear_lookups()

    new = encode_api_key(world.credential.client_id, dict(response.context["secrets"])["Secret"])
    assert world.post(world.event()).status_code == then
    assert world.post(world.event(), headers={"authorization": f"Basic {new}"}).status_code == 200
    assert ("<dt>Old secret</dt>" in look(owner, "credentials/")) == (hours != "0")
    Credential.objects.filter(pk=world.credential.pk).update(old_secret_ends_at=timezone.now())
    clear_lookups()
    assert world.post(world.event()).status_code == 401
    assert last_entry()[2] == {"the old one ends in hours": int(hours)}


def test_credential__its_access_token__ends_with_the_secret_that_made_it(world: World) -> None:
    credential = world.credential
    with_old = issue_token(check_secret(CLIENT_ID, SECRET))
    new = rotate_secret(credential, overlap=timedelta(hours=1), now=timezone.now())
    clear_lookups()
    made_later_with_old = issue_token(check_secret(CLIENT_ID, SECRET))
    with_new = issue_token(check_secret(CLIENT_ID, new.secret))
    for token in (with_old, made_later_with_old, with_new):
        assert check_token(token).credential_id == credential.pk

    Credential.objects.filter(pk=credential.pk).update(old_secret_ends_at=timezone.now())
    clear_lookups()

    assert check_token(with_new).credential_id == credential.pk
    for token in (with_old, made_later_with_old):
        with pytest.raises(Refusal):
            check_token(token)


@pytest.mark.parametrize("hours", ["", "-1", "721", "99999", "x"])
def test_credential__renewed_with_an_odd_overlap__stays(owner: Client, world: World, hours: str) -> None:
    change(owner, "credentials/change/", do="rotate", credential=world.credential.pk, hours=hours)

    assert check_secret(CLIENT_ID, SECRET)
    assert not AuditEntry.objects.exists()


@pytest.mark.promise("K-35")
def test_credential__revoked__opens_nothing(owner: Client, world: World) -> None:
    change(owner, "credentials/change/", do="revoke", credential=world.credential.pk)
    world.change_site()

    assert world.post(world.event()).status_code == 401
    assert "Revoked the credential" in last_entry()[0]


def test_credential__that_opens_a_site_of_others__cannot_be_changed_here(owner: Client, world: World) -> None:
    world.credential.sites.add(create_site(name="Other"))

    for do in ("rotate", "revoke"):
        response = owner.post(BASE + "credentials/change/", {"do": do, "credential": world.credential.pk})
        assert response.status_code == 404

    before = world.credential.secret_hash
    world.credential.refresh_from_db()
    assert (world.credential.revoked_at, world.credential.secret_hash) == (None, before)


def test_credential__renewed_by_two_at_once__opens_with_both_secrets(owner: Client, world: World) -> None:
    form = {"do": "rotate", "credential": world.credential.pk, "hours": "24", "confirmed": "yes"}

    def renew(_: int) -> int:
        return owner.post(BASE + "credentials/change/", form).status_code

    with ThreadPoolExecutor(1) as meanwhile, psycopg.connect(**connection_parameters()) as other:
        other.execute("UPDATE api_credential SET secret_hash = %s", [hash_secret("what the first was told")])
        answer = meanwhile.submit(in_threads, 1, renew)
        wait_until(lambda: answer.done() or count_lock_waits() == 1)
        other.commit()
        assert answer.result() == [200]

    clear_lookups()
    assert check_secret(CLIENT_ID, "what the first was told").client_id == CLIENT_ID


def scopes_of(credential: Credential) -> list[str]:
    return Credential.objects.get(pk=credential.pk).scopes


def test_credential__made_on_its_page__may_do_what_was_ticked_and_sends_by_default(owner: Client, site: Site) -> None:
    page = look(owner, "credentials/")
    assert re.findall(r'name="scope" value="(\w+)" checked', page.partition("New credential")[2]) == ["send"]

    response = owner.post(BASE + "credentials/change/", {"do": "create", "name": "Reads", "scope": ["read", "manage"]})

    made = Credential.objects.get(name="Reads")
    assert made.scopes == ["read", "manage"]
    assert "It can read remote data, private traits included and use the management API as an owner." in text_of(
        response
    )
    assert last_entry()[2] == {"name": "Reads", "scopes": ["read", "manage"]}


@pytest.mark.parametrize("scopes", [[], ["owner"], ["send", "x" * 300], ["send\0"]])
def test_credential__with_no_or_an_unknown_scope__is_not_made_nor_changed(
    owner: Client, world: World, scopes: list[str]
) -> None:
    for form in ({"do": "create", "name": "Odd"}, {"do": "scopes", "credential": world.credential.pk}):
        response = owner.post(BASE + "credentials/change/", {**form, "scope": scopes, "confirmed": "yes"})
        assert response.status_code == 302
    assert Credential.objects.count() == 1
    assert scopes_of(world.credential) == Scope.values
    assert not AuditEntry.objects.exists()


def test_credential__that_may_do_everything__says_so_and_is_narrowed_after_a_question(
    owner: Client, world: World
) -> None:
    assert "It can do everything, like an owner of the site." in look(owner, "credentials/")
    form = {"do": "scopes", "credential": world.credential.pk, "scope": ["send"]}

    question = text_of(owner.post(BASE + "credentials/change/", form))
    assert "It can no longer read remote data, private traits included." in question
    assert scopes_of(world.credential) == Scope.values
    change(owner, "credentials/change/", **form)
    clear_lookups()

    assert scopes_of(world.credential) == ["send"]
    assert last_entry()[1:] == ({"scopes": Scope.values}, {"scopes": ["send"]})
    assert world.post(world.event()).status_code == 200
    assert world.client.get("/api/goals", auth=(CLIENT_ID, SECRET)).status_code == 403
    assert "It can do everything" not in look(owner, "credentials/")


def test_credential__widened__says_who_may_do_it_then(owner: Client, world: World) -> None:
    Credential.objects.update(scopes=["send"])
    form = {"do": "scopes", "credential": world.credential.pk, "scope": ["read", "send"]}

    question = text_of(owner.post(BASE + "credentials/change/", form))

    assert "also Segment if you pasted it there" in question
    assert "lost" not in question
    change(owner, "credentials/change/", **form)
    assert scopes_of(world.credential) == ["send", "read"]


@pytest.mark.parametrize("way", ["function", "webhook"])
def test_guide__for_segment__makes_a_credential_that_only_sends(owner: Client, site: Site, way: str) -> None:
    page = text_of(owner.get(f"/admin/s/{SITECODE}/guide/{way}/"))
    form = re.search(r'<form method="post" action="([^"]+)"[^>]*>(.*?)</form>', page, re.DOTALL)
    assert form is not None
    given = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[2]))
    given.pop("csrfmiddlewaretoken", None)

    response = owner.post(form[1], given)

    key = json.loads(base64.b64decode(response.context["api_key"]))
    assert Credential.objects.get(client_id=key["id"]).scopes == ["send"]


def test_guide__for_segment__shows_no_button_to_who_may_not_press_it(enter: Enter, site: Site) -> None:
    assert "Only owners of Shop create keys" in text_of(enter("editor").get(f"/admin/s/{SITECODE}/guide/function/"))

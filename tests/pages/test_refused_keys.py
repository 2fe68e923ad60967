"""Requests with a key that opens nothing leave a trace that people find, in little room."""

import base64
import html
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from api.http import refused_keys
from api.http.credentials import encode_api_key
from api.http.refused_keys import KeyProblem, RefusedKeyCounter, record_refused_key
from api.http.tokens import make_token
from api.ingest.provisioning import create_credential, create_site, create_source, revoke_write_key
from api.models import ManagementToken, RefusedKey, Site, Source
from tests.support.pages import Enter, text_of
from tests.world import CLIENT_ID, SECRET, SITECODE, World, owner_of

HOME = f"/admin/s/{SITECODE}/"
EVENT: dict[str, Any] = {"userId": "u", "event": "Buy"}
UNKNOWN = "unknown-key-that-somebody-made-up"


@pytest.fixture(autouse=True)
def writer(monkeypatch: pytest.MonkeyPatch, world: World) -> RefusedKeyCounter:
    """Return what this process counts in; nothing is written before a test says so."""
    monkeypatch.setattr(RefusedKeyCounter, "_work", lambda _: None)
    refusals = RefusedKeyCounter()
    monkeypatch.setattr(refused_keys, "refused_key_counter", lambda: refusals)
    return refusals


@pytest.fixture
def source(world: World) -> Source:
    return create_source(world.site, name="Shop", kind="server", write_key="abcd-a-key-that-is-long-enough")


def look(person: Client, page: str) -> str:
    return html.unescape(text_of(person.get(HOME + page)))


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("who", ["viewer", "owner"])
def test_unknown_key__of_a_sender__is_told_where_people_wait(
    world: World, enter: Enter, writer: RefusedKeyCounter, who: str
) -> None:
    for _ in range(3):
        assert world.client.post("/v1/track", json={**EVENT, "writeKey": UNKNOWN}).status_code == 401
    writer.write()
    told = (
        "3 requests to this Goalpost in 24 hours, 3 of them in the last 10 minutes, "
        "showed a write key that no site has (“unkn…up”)"
    )

    for page in ("", "delivery/", "guide/", "guide/curl/"):
        shown = look(enter(who), page)
        assert told in shown, page
        assert "Nothing of them was stored." in shown
        assert page == "" or "the members of every site see this count" in shown
        assert UNKNOWN not in shown


def test_revoked_key__of_a_sender__is_told_to_its_site_alone(
    world: World, enter: Enter, source: Source, writer: RefusedKeyCounter
) -> None:
    key = source.write_keys.get()
    other = create_site(name="Other", sitecode="other00000")
    revoke_write_key(key, now=timezone.now() - timedelta(seconds=1))
    assert world.client.post("/v1/track", json=EVENT, headers=basic(f"{key.key}:")).status_code == 401
    writer.write()

    assert "showed a write key of this site that was revoked (“abcd…gh”)" in look(enter("viewer"), "")
    owner = owner_of(other, name="olga")
    client = Client()
    client.force_login(owner)
    assert "was revoked" not in html.unescape(text_of(client.get("/admin/s/other00000/")))


def test_every_door__with_a_wrong_key__leaves_a_trace(world: World, source: Source, writer: RefusedKeyCounter) -> None:
    token, value = make_token([world.site], description="CI", role="viewer", made_by=owner_of(), expires_at=None)
    other = create_site(name="Other", sitecode="other00000")
    key = f"Basic {encode_api_key(CLIENT_ID, SECRET)}"
    new = create_credential([world.site], name="SDK", scopes=["read"])
    narrow = {"authorization": f"Basic {encode_api_key(new.credential.client_id, new.secret)}"}
    wrong = {"authorization": f"Basic {encode_api_key(CLIENT_ID, 'wrong')}"}
    asked: list[tuple[str, Any, int]] = [
        ("write_key", lambda: world.client.post("/v1/track", json=EVENT, headers=basic("nobody-has-it:")), 401),
        ("write_key", lambda: world.client.post("/v1/batch", json={"batch": [{**EVENT, "writeKey": "nobodys"}]}), 401),
        ("write_key", lambda: world.client.get("/v1/projects/nobody-has-it/settings"), 404),
        ("no_key", lambda: world.client.post("/v1/track", json=EVENT), 401),
        ("no_key", lambda: world.post(EVENT, authorization="Basic ???"), 401),
        ("credential", lambda: world.post(EVENT, headers=wrong), 401),
        ("credential", lambda: world.get("IDENTIFY_u", headers=wrong), 401),
        ("credential", lambda: world.client.get(f"/segmentio/getapikey?id={CLIENT_ID}&secret=wrong"), 401),
        ("sitecode", lambda: world.post(EVENT, authorization=key, sitecode=other.sitecode), 403),
        ("scope", lambda: world.post(EVENT, headers=narrow), 403),
        ("scope", lambda: Client().get("/api/goals", headers=narrow), 403),
        ("token", lambda: Client().get("/api/goals", headers={"authorization": f"Bearer {value}"}), 401),
        ("token", lambda: Client().get("/api/goals", headers={"authorization": "Bearer gpm_unknown-token"}), 401),
    ]
    for reason, ask, status in asked:
        RefusedKey.objects.all().delete()
        answer = ask()
        assert answer.status_code == status
        writer.write()
        assert [(row.reason, row.count) for row in RefusedKey.objects.all()] == [(reason, 1)], reason
    assert token.pk == ManagementToken.objects.get().pk


def test_table__after_wrong_keys_of_every_kind__holds_no_secret(
    world: World, source: Source, writer: RefusedKeyCounter
) -> None:
    secrets = [UNKNOWN, "gpm_a-management-token-of-somebody", "a-wrong-secret-of-somebody", "short", "päss\0word"]
    for secret in secrets:
        world.client.post("/v1/track", json={**EVENT, "writeKey": secret})
        world.post(EVENT, headers={"authorization": f"Basic {encode_api_key(CLIENT_ID, secret)}"})
        Client().get("/api/goals", headers={"authorization": f"Bearer gpm_{secret.encode().hex()}"})
    writer.write()

    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(string_agg(r::text, ' '), '') FROM api_refusedkey r")
        table = cursor.fetchone()[0]
    assert RefusedKey.objects.exists()
    assert not [secret for secret in secrets if secret[:5] in table]


def test_strangers__with_any_number_of_keys__fill_few_rows_and_make_no_write_each(
    world: World, writer: RefusedKeyCounter, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(0):
        for number in range(5_000):
            record_refused_key(KeyProblem.WRITE_KEY, f"{number:04}-key-that-a-stranger-made-up")
    assert len(writer._counts) <= refused_keys.MAX_KEYS + len(KeyProblem)
    writer.write()
    for number in range(5_000, 5_200):  # the next minute, or another process
        record_refused_key(KeyProblem.WRITE_KEY, f"{number:04}-key-that-a-stranger-made-up")
    writer.write()

    rows = list(RefusedKey.objects.all())
    assert sum(row.count for row in rows) == 5_200
    assert len(rows) <= (refused_keys.MAX_HINTS + 1) * len({row.slot for row in rows})
    assert all(len(row.hint) <= 7 for row in rows)


def test_rows__older_than_a_day__go_with_the_next_write(world: World, writer: RefusedKeyCounter) -> None:
    old = datetime.now(UTC) - timedelta(hours=25)
    RefusedKey.objects.create(slot=old, reason="write_key", hint="old…", count=5, last_at=old)
    record_refused_key(KeyProblem.WRITE_KEY, UNKNOWN)

    writer.write()

    assert [row.hint for row in RefusedKey.objects.all()] == ["unkn…up"]


def test_key__refused_again_after_a_write__adds_up_in_one_row(world: World, writer: RefusedKeyCounter) -> None:
    for _ in range(2):
        record_refused_key(KeyProblem.WRITE_KEY, UNKNOWN)
        writer.write()

    row = RefusedKey.objects.get()
    assert (row.count, row.site) == (2, None)


def test_guide__while_it_waits__is_told_of_refused_keys(
    world: World, enter: Enter, source: Source, writer: RefusedKeyCounter
) -> None:
    record_refused_key(KeyProblem.WRITE_KEY, UNKNOWN)
    writer.write()

    heard = json.loads(text_of(enter("viewer").get(f"{HOME}guide/first-event/{source.pk}/")))

    assert heard["received"] == 0
    (sentence,) = heard["refused"]
    assert "(“unkn…up”)" in sentence


def test_site__that_is_removed__takes_its_counts_along(world: World, writer: RefusedKeyCounter) -> None:
    other: Site = create_site(name="Other")
    now = datetime.now(UTC)
    RefusedKey.objects.create(site=other, slot=now, reason="write_key", hint="a", count=1, last_at=now)

    Site.objects.filter(pk=other.pk).delete()

    assert not RefusedKey.objects.exists()

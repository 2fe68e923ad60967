"""The settings of a site: what owners change, and what the log says of it."""

import html
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from api.events.refusal import Refusal
from api.http.budgets import BudgetUse
from api.http.credentials import check_secret, check_token, clear_lookups, encode_api_key, hash_secret, issue_token
from api.http.database import connection_parameters
from api.ingest.provisioning import create_credential, create_site, create_source, renew_secret
from api.models import AuditEntry, Credential, Membership, Message, Rule, Scope, Site, Source, WriteKey
from api.models.budgets import BUDGET_FIELDS, BudgetSpan
from api.pages.settings.sources import budget_rows
from tests.pages.conftest import Enter, text_of
from tests.support.concurrency import count_lock_waits, in_threads, wait_until
from tests.world import CLIENT_ID, SECRET, SITECODE, World

BASE = "/admin/s/1q2w3e4r5t/settings/"
TABS = ["", "sources/", "rules/", "rules/new/", "credentials/", "members/", "changes/"]
FOR_OWNERS = ["rules/new/", "credentials/", "members/", "changes/"]
CHANGES = ["save/", "sources/change/", "rules/change/", "rules/new/", "credentials/change/", "members/change/"]


@pytest.fixture
def site(world: World) -> Site:
    return world.site


@pytest.fixture
def owner(enter: Enter) -> Client:
    return enter("owner")


@pytest.fixture
def source(site: Site) -> Source:
    return create_source(site, name="Web", kind="browser", write_key="key-of-the-web")


def look(person: Client, tab: str) -> str:
    return html.unescape(text_of(person.get(BASE + tab)))


def change(person: Client, path: str, **fields: Any) -> None:
    response = person.post(BASE + path, {**fields, "confirmed": "yes"})
    assert response.status_code == 302, response.content


def told(entry: AuditEntry | None) -> tuple[str, Any, Any]:
    assert entry is not None
    return entry.what, entry.before, entry.after


def last_entry() -> tuple[str, Any, Any]:
    return told(AuditEntry.objects.order_by("pk").last())


# Whose they are


@pytest.mark.promise("I-29")
@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("who", ["viewer", "editor", "owner", "outsider", "anonymous"])
def test_tab__whoever_asks__gets_what_is_theirs(enter: Enter, who: str, tab: str) -> None:
    status = {"owner": 200, "outsider": 404, "anonymous": 302}.get(who, 403 if tab in FOR_OWNERS else 200)

    assert enter(who).get(BASE + tab).status_code == status


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("editor", 403), ("outsider", 404), ("anonymous", 302)])
def test_change__by_whoever_is_no_owner__changes_nothing(
    enter: Enter, source: Source, who: str, status: int, path: str
) -> None:
    before = list(Site.objects.values()), list(Source.objects.values()), list(WriteKey.objects.values())
    fields = {"do": "create", "name": "New", "kind": "server", "action": "drop"}

    assert enter(who).post(BASE + path, fields).status_code == status

    assert before == (list(Site.objects.values()), list(Source.objects.values()), list(WriteKey.objects.values()))
    assert not Rule.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("tab", TABS)
def test_tab__of_much__takes_twelve_queries(
    owner: Client, site: Site, django_assert_max_num_queries: Any, tab: str
) -> None:
    for number in range(10):
        source = create_source(site, name=f"Source {number}", kind="server")
        Rule.objects.create(site=site, source=source, action="drop")
        create_credential([site], name=f"Credential {number}")
        Membership.objects.create(site=site, user=User.objects.create_user(f"user {number}"))
    look(owner, tab)

    with django_assert_max_num_queries(12):
        look(owner, tab)


@pytest.mark.parametrize("number", ["", "x", "9" * 30, "-1", "0"])
@pytest.mark.parametrize(
    ("path", "field"), [("sources/change/", "source"), ("rules/change/", "rule"), ("credentials/change/", "credential")]
)
def test_change__of_something_that_is_not_the_sites__is_not_found(
    owner: Client, path: str, field: str, number: str
) -> None:
    assert owner.post(BASE + path, {"do": "revoke", field: number}).status_code == 404


# The site


def sent_form(owner: Client) -> dict[str, Any]:
    """What a browser would send back."""
    form = owner.get(BASE).context["form"]
    values = {field.html_name: field.value() for field in form}
    values = {name: "\n".join(value) if isinstance(value, list) else value for name, value in values.items()}
    return {
        name: "on" if value is True else value
        for name, value in values.items()
        if value is not False and value is not None
    }


def test_site__changed__is_noted_before_and_after(owner: Client, site: Site) -> None:
    sent = sent_form(owner)

    change(owner, "save/", **{**sent, "goal_name_template": "{type}: {name}", "public_traits": "plan\r\ncountry"})

    site.refresh_from_db()
    assert (site.goal_name_template, site.public_traits) == ("{type}: {name}", ["plan", "country"])
    assert site.rules_changed_at is not None
    assert last_entry() == (
        "Changed the site's settings",
        {"public_traits": ["plan"], "goal_name_template": "SegmentIO {type} – {name}"},
        {"public_traits": ["plan", "country"], "goal_name_template": "{type}: {name}"},
    )
    assert "track: Clicked on Checkout" in look(owner, "")


def test_site__saved_as_it_is__notes_nothing(owner: Client, site: Site) -> None:
    change(owner, "save/", **sent_form(owner))

    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("goal_name_template", "no places"),
        ("default_currency", "euro"),
        ("goals_per_hour", "0"),
        ("keeps_done_days", "6"),
    ],
)
def test_site__odd_value__is_refused(owner: Client, site: Site, field: str, value: str) -> None:
    response = owner.post(BASE + "save/", {**sent_form(owner), field: value})

    assert response.status_code == 400
    site.refresh_from_db()
    assert str(getattr(site, field)) != value


@pytest.mark.promise("K-39")
def test_site__its_sitecode__has_a_button_that_copies(owner: Client) -> None:
    shown = look(owner, "")

    assert 'data-copy="1q2w3e4r5t"' in shown
    assert "api/copy.js" in shown


# Sources


@pytest.mark.promise("A-01")
def test_sources__whoever_looks__reads_and_copies_the_write_keys(enter: Enter, source: Source) -> None:
    shown = look(enter("viewer"), "sources/")

    assert "<code>key-of-the-web</code>" in shown
    assert 'data-copy="key-of-the-web"' in shown
    assert 'name="do"' not in shown  # a viewer changes nothing


def test_source__made__may_send_at_once(owner: Client, site: Site, world: World) -> None:
    change(owner, "sources/change/", do="create", name="Altis", kind="altis")

    source = site.sources.get(name="Altis")
    key = source.write_keys.get().key
    assert source.rules.count() == 2
    answer = world.client.post("/v1/track", json={"writeKey": key, "userId": "u", "event": "Buy"})
    assert answer.status_code == 200
    what, _, after = last_entry()
    assert (what, after) == (f"Created the source {source.pk}", {"name": "Altis", "kind": "altis"})
    assert key not in str(AuditEntry.objects.values())


@pytest.mark.parametrize(
    "fields",
    [{"name": "", "kind": "server"}, {"name": "x" * 101, "kind": "server"}, {"name": "D", "kind": "destination"}],
)
def test_source__that_cannot_be__is_not_made(owner: Client, site: Site, fields: Mapping[str, str]) -> None:
    count = Source.objects.count()

    change(owner, "sources/change/", do="create", **fields)

    assert Source.objects.count() == count
    assert not AuditEntry.objects.exists()


@pytest.mark.promise("K-33", "B-12")
def test_source__switched_off_and_on__refuses_and_takes(owner: Client, site: Site, world: World) -> None:
    destination = site.sources.get(kind="destination")
    event = world.event()

    change(owner, "sources/change/", do="save", source=destination.pk, name=destination.name, takes_track="on")
    world.change_site()  # forgets what was looked up, as five seconds do
    off = world.post(event)
    change(
        owner,
        "sources/change/",
        do="save",
        source=destination.pk,
        name=destination.name,
        takes_track="on",
        is_enabled="on",
    )
    world.change_site()

    assert (off.status_code, off.json()["code"]) == (403, "integration_off")
    assert world.last_message().reason == "integration_off"
    assert world.post(event).status_code == 200
    entries = AuditEntry.objects.order_by("pk")
    assert [told(entry)[1:] for entry in entries] == [
        ({"is_enabled": True}, {"is_enabled": False}),
        ({"is_enabled": False}, {"is_enabled": True}),
    ]


def test_source__its_budget__is_shown_changed_and_noted(
    owner: Client, enter: Enter, source: Source, world: World
) -> None:
    world.client.post("/v1/track", json={"writeKey": "key-of-the-web", "userId": "u", "event": "Buy"})
    wait_until(lambda: "1 of 5,000,000 events" in look(enter("viewer"), "sources/"))

    change(
        owner,
        "sources/change/",
        do="budget",
        source=source.pk,
        events_per_day="1",
        mib_per_day="0.5",
        mib_per_minute="",
    )

    source.refresh_from_db()
    figures = {name: getattr(source, name) for name in BUDGET_FIELDS}
    assert figures == {
        "events_per_minute": None,
        "bytes_per_minute": None,
        "events_per_day": 1,
        "bytes_per_day": 524_288,
    }
    assert last_entry() == (
        f"Changed the source {source.pk}",
        {"events_per_day": None, "bytes_per_day": None},
        {"events_per_day": 1, "bytes_per_day": 524_288},
    )
    shown = look(owner, "sources/")
    assert "1 of 1 event and" in shown
    assert 'name="mib_per_day" value="0.5"' in shown
    clear_lookups()
    answer = world.client.post("/v1/track", json={"writeKey": "key-of-the-web", "userId": "u", "event": "Buy"})
    assert answer.status_code == 429
    wait_until(lambda: "1 request refused because of it" in look(owner, "sources/"))
    change(owner, "sources/change/", do="budget", source=source.pk)
    source.refresh_from_db()
    assert {getattr(source, name) for name in BUDGET_FIELDS} == {None}


@pytest.mark.parametrize("name", ["events_per_minute", "mib_per_minute", "events_per_day", "mib_per_day"])
@pytest.mark.parametrize("value", ["0", "-1", "1e9", "many", "9" * 30, "0.0000001", "²", "\0"])
def test_source__odd_budget__is_not_taken(owner: Client, source: Source, name: str, value: str) -> None:
    if name.startswith("events") and value == "0.0000001":
        value = "0.4"
    change(owner, "sources/change/", do="budget", source=source.pk, **{name: value})

    source.refresh_from_db()
    assert {getattr(source, each) for each in BUDGET_FIELDS} == {None}
    assert not AuditEntry.objects.exists()


def test_source__budget_of_any_number_of_bytes__is_shown_exactly(owner: Client, source: Source) -> None:
    for size in (1, 12_345_678, 10**15):
        Source.objects.filter(pk=source.pk).update(bytes_per_day=size)
        source.refresh_from_db()
        (_, row) = budget_rows(source, {span: BudgetUse() for span in BudgetSpan})
        change(owner, "sources/change/", do="budget", source=source.pk, mib_per_day=row.own_mib)
        source.refresh_from_db()
        assert source.bytes_per_day == size


def test_source__takes_no_track__is_noted_for_the_digest(owner: Client, site: Site, source: Source) -> None:
    change(owner, "sources/change/", do="save", source=source.pk, name="Web shop", is_enabled="on")

    source.refresh_from_db()
    site.refresh_from_db()
    assert (source.name, source.takes_track, source.is_enabled) == ("Web shop", False, True)
    assert site.rules_changed_at is not None


def test_key__rotated_and_revoked__ends_as_told(owner: Client, source: Source) -> None:
    change(owner, "sources/change/", do="rotate", source=source.pk, hours="2")
    old, new = source.write_keys.order_by("pk")
    assert old.ends_at is not None
    assert timedelta(hours=1) < old.ends_at - timezone.now() <= timedelta(hours=2)

    change(owner, "sources/change/", do="revoke", source=source.pk, key=old.key)

    old.refresh_from_db()
    assert old.ends_at <= timezone.now()
    shown = look(owner, "sources/")
    assert old.key not in shown
    assert new.key in shown
    assert AuditEntry.objects.count() == 2
    assert not any(key in str(list(AuditEntry.objects.values())) for key in (old.key, new.key))


@pytest.mark.parametrize("hours", ["", "-1", "721", "x", "9" * 30])
def test_key__rotated_with_an_odd_overlap__stays(owner: Client, source: Source, hours: str) -> None:
    change(owner, "sources/change/", do="rotate", source=source.pk, hours=hours)

    assert source.write_keys.get().ends_at is None


def test_key__of_another_site__cannot_be_revoked(owner: Client, source: Source) -> None:
    other = create_site(name="Other").sources.get()

    change(owner, "sources/change/", do="revoke", source=source.pk, key=other.write_keys.get().key)
    response = owner.post(
        BASE + "sources/change/", {"do": "rotate", "source": other.pk, "hours": "0", "confirmed": "yes"}
    )

    assert response.status_code == 404
    assert not WriteKey.objects.exclude(ends_at=None).exists()


# Rules


RULE = {
    "name": "No noise",
    "is_enabled": "on",
    "action": "drop",
    "name_test": "prefix",
    "name_value": "_",
    "group_traits": "{}",
}


@pytest.mark.promise("B-11")
def test_rule__tried__tells_what_would_change_and_saves_nothing(owner: Client, world: World) -> None:
    world.send(world.event(event="_noise"), world.event(event="Buy"))

    response = owner.post(BASE + "rules/new/", {**RULE, "do": "try"})

    forecast = response.context["forecast"]
    assert (forecast.messages, forecast.dropped_now, forecast.dropped_then) == (2, 0, 1)
    assert "SegmentIO track – _noise" in text_of(response)
    assert not Rule.objects.exists()


@pytest.mark.promise("B-11")
def test_rule__tried_on_one_stored_event__tells_of_it_alone(owner: Client, world: World) -> None:
    world.send(world.event(event="_noise"), world.event(event="Buy"), world.event(event="_more"))
    message = Message.objects.order_by("pk")[0]

    assert f"rules/new/?event={message.pk}" in text_of(owner.get(f"/admin/s/1q2w3e4r5t/events/{message.pk}/"))
    assert f'<option value="{message.pk}" selected>' in text_of(owner.get(f"{BASE}rules/new/?event={message.pk}"))
    assert f"/events/{message.pk}/" in text_of(owner.get(f"{BASE}rules/"))
    response = owner.post(BASE + "rules/new/", {**RULE, "do": "try-event", "event": str(message.pk)})

    forecast = response.context["forecast"]
    assert (forecast.messages, forecast.dropped_now, forecast.dropped_then) == (1, 0, 1)
    assert "One message, read" in text_of(response)
    assert not Rule.objects.exists()
    nothing = owner.post(BASE + "rules/new/", {**RULE, "do": "try-event", "event": "x"})
    assert nothing.context["forecast"].messages == 0


@pytest.mark.promise("B-11")
def test_rule__made_changed_switched_and_deleted__is_noted_each_time(owner: Client, site: Site) -> None:
    change(owner, "rules/new/", **RULE, do="save")
    rule = site.rules.get()
    change(owner, f"rules/{rule.pk}/", **{**RULE, "name_value": "__"}, do="save")
    rule.refresh_from_db()
    assert rule.name_value == "__"
    change(owner, "rules/change/", do="switch", rule=rule.pk)
    rule.refresh_from_db()
    assert not rule.is_enabled
    change(owner, "rules/change/", do="delete", rule=rule.pk)

    assert not site.rules.exists()
    entries = list(AuditEntry.objects.order_by("pk"))
    assert [entry.what.partition(" the rule")[0] for entry in entries] == ["Made", "Changed", "Switched", "Deleted"]
    assert told(entries[1])[1:] == ({"name_value": "_"}, {"name_value": "__"})
    site.refresh_from_db()
    assert site.rules_changed_at is not None


@pytest.mark.promise("B-11")
@pytest.mark.parametrize(
    ("place", "do", "order"),
    [(0, "down", "bac"), (2, "up", "acb"), (0, "up", "abc"), (2, "down", "abc")],
)
def test_rule__moved__changes_places_with_its_neighbour(
    owner: Client, site: Site, place: int, do: str, order: str
) -> None:
    rules = [Rule.objects.create(site=site, name=name, action="drop") for name in "abc"]  # all at one position

    change(owner, "rules/change/", do=do, rule=rules[place].pk)

    assert "".join(site.rules.values_list("name", flat=True)) == order


def test_rule__that_is_wrong__is_told_and_not_saved(owner: Client, site: Site) -> None:
    response = owner.post(BASE + "rules/new/", {**RULE, "action": "rename", "do": "save"})

    assert response.status_code == 400
    assert "a template such as" in html.unescape(response.content.decode())
    assert not site.rules.exists()


def test_rule__more_than_a_site_may_have__is_told_and_not_saved(owner: Client, site: Site) -> None:
    Rule.objects.bulk_create(Rule(site=site, action="drop_field", argument="traits.x") for _ in range(51))
    fields = {
        "action": "drop_field",
        "argument": "traits.email",
        "is_enabled": "on",
        "do": "save",
        "group_traits": "{}",
    }

    response = owner.post(BASE + "rules/new/", fields)

    assert response.status_code == 400
    assert "A site may have 50 rules that remove or hash a field" in response.content.decode()
    assert Rule.objects.count() == 51
    change(owner, "rules/new/", **{**fields, "action": "drop", "argument": ""})
    rule = Rule.objects.filter(action="drop_field").first()
    assert rule is not None
    change(owner, f"rules/{rule.pk}/", **fields)  # those there are go on, and may be changed
    Rule.objects.bulk_create(Rule(site=site, action="drop") for _ in range(148))
    response = owner.post(BASE + "rules/new/", {**fields, "action": "drop", "argument": ""})
    assert (response.status_code, Rule.objects.count()) == (400, 200)


@pytest.mark.parametrize(
    ("page", "form"),
    [
        ("rules/{}/", {"name": "Late", "action": "no_goal", "name_test": "equals", "name_value": "A"}),
        *(("rules/change/", {"do": do, "rule": "{}"}) for do in ("up", "down", "switch", "delete")),
    ],
)
def test_rule__deleted_while_somebody_changes_it__stays_deleted(
    owner: Client, site: Site, page: str, form: dict[str, str]
) -> None:
    rule = Rule.objects.create(site=site, action="no_goal", name_test="equals", name_value="A")

    def change_it(_: int) -> int:
        fields = {**{name: value.format(rule.pk) for name, value in form.items()}, "confirmed": "yes"}
        return owner.post(BASE + page.format(rule.pk), fields).status_code

    with ThreadPoolExecutor(1) as meanwhile, psycopg.connect(**connection_parameters()) as other:
        other.execute("UPDATE api_site SET rules_changed_at = now() WHERE id = %s", [site.pk])
        other.execute("DELETE FROM api_rule WHERE id = %s", [rule.pk])
        answer = meanwhile.submit(in_threads, 1, change_it)
        wait_until(lambda: answer.done() or count_lock_waits() == 1)
        other.commit()
        assert answer.result() == [404]

    assert not Rule.objects.exists()
    assert not AuditEntry.objects.exists()


def test_rule__for_a_source_of_another_site__is_refused(owner: Client, site: Site) -> None:
    other = create_site(name="Other").sources.get()

    response = owner.post(BASE + "rules/new/", {**RULE, "source": other.pk, "do": "save"})

    assert response.status_code == 400
    assert not Rule.objects.exists()


# Credentials


@pytest.mark.promise("K-35", "I-29")
def test_credential__made_and_renewed__tells_its_secret_once(owner: Client, site: Site) -> None:
    response = owner.post(BASE + "credentials/change/", {"do": "create", "name": "SDK", "scope": "read"})
    secret = dict(response.context["secrets"])["Secret"]
    credential = Credential.objects.get(name="SDK")
    assert secret in text_of(response)
    assert credential.secret_hash == hash_secret(secret)
    assert list(credential.sites.all()) == [site]

    again = owner.post(
        BASE + "credentials/change/", {"do": "renew", "credential": credential.pk, "hours": "0", "confirmed": "yes"}
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
    entries = AuditEntry.objects.filter(what__startswith="Made the credential")
    assert {entry.site for entry in entries} == {site, mine}


@pytest.mark.promise("K-35")
@pytest.mark.parametrize(("hours", "then"), [("0", 401), ("24", 200)])
def test_credential__renewed__goes_on_with_its_old_secret_as_long_as_told(
    owner: Client, world: World, hours: str, then: int
) -> None:
    response = owner.post(
        BASE + "credentials/change/",
        {"do": "renew", "credential": world.credential.pk, "hours": hours, "confirmed": "yes"},
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
    new = renew_secret(credential, overlap=timedelta(hours=1), now=timezone.now())
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
    change(owner, "credentials/change/", do="renew", credential=world.credential.pk, hours=hours)

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

    for do in ("renew", "revoke"):
        response = owner.post(BASE + "credentials/change/", {"do": do, "credential": world.credential.pk})
        assert response.status_code == 404

    before = world.credential.secret_hash
    world.credential.refresh_from_db()
    assert (world.credential.revoked_at, world.credential.secret_hash) == (None, before)


def test_credential__renewed_by_two_at_once__opens_with_both_secrets(owner: Client, world: World) -> None:
    form = {"do": "renew", "credential": world.credential.pk, "hours": "24", "confirmed": "yes"}

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
    assert "It may read remote data, private traits included and use the management API as an owner." in text_of(
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
    assert "It may do everything: whoever has it owns the site." in look(owner, "credentials/")
    form = {"do": "scopes", "credential": world.credential.pk, "scope": ["send"]}

    question = text_of(owner.post(BASE + "credentials/change/", form))
    assert "It may no longer read remote data, private traits included." in question
    assert scopes_of(world.credential) == Scope.values
    change(owner, "credentials/change/", **form)
    clear_lookups()

    assert scopes_of(world.credential) == ["send"]
    assert last_entry()[1:] == ({"scopes": Scope.values}, {"scopes": ["send"]})
    assert world.post(world.event()).status_code == 200
    assert world.client.get("/api/goals", auth=(CLIENT_ID, SECRET)).status_code == 403
    assert "It may do everything" not in look(owner, "credentials/")


def test_credential__widened__says_who_may_do_it_then(owner: Client, world: World) -> None:
    Credential.objects.update(scopes=["send"])
    form = {"do": "scopes", "credential": world.credential.pk, "scope": ["read", "send"]}

    question = text_of(owner.post(BASE + "credentials/change/", form))

    assert "Segment too, if it is pasted there" in question
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

    secrets = dict(response.context["secrets"])
    assert Credential.objects.get(client_id=secrets["Client id"]).scopes == ["send"]
    assert secrets["API key, for Segment"] == encode_api_key(secrets["Client id"], secrets["Secret"])


def test_guide__for_segment__shows_no_button_to_who_may_not_press_it(enter: Enter, site: Site) -> None:
    assert "an owner makes it" in text_of(enter("editor").get(f"/admin/s/{SITECODE}/guide/function/"))


# Members


def link_for(owner: Client, username: str, role: str = "editor") -> str:
    """The address of an invitation, without its host."""
    response = owner.post(BASE + "members/change/", {"do": "invite", "username": username, "role": role})
    assert response.status_code == 200
    return "/admin/join/" + str(response.context["link"]).partition("/admin/join/")[2]


def sign_in(username: str) -> Client:
    user, _ = User.objects.get_or_create(username=username)
    client = Client()
    client.force_login(user)
    return client


def test_member__invited_changed_and_removed__is_noted_each_time(owner: Client, site: Site) -> None:
    ada = sign_in("ada")

    link = link_for(owner, "ada")
    assert "invites you as editor" in text_of(ada.get(link))
    assert not site.memberships.filter(user__username="ada").exists()
    assert ada.post(link).status_code == 302
    member = site.memberships.get(user__username="ada")
    assert member.role == "editor"
    change(owner, "members/change/", do="role", member=member.pk, role="owner")
    change(owner, "members/change/", do="remove", member=member.pk)

    assert not site.memberships.filter(user__username="ada").exists()
    assert [(entry.who, *told(entry)) for entry in AuditEntry.objects.order_by("pk")] == [
        ("owner", "Invited ada", None, {"role": "editor"}),
        ("ada", "Accepted an invitation", None, {"role": "editor"}),
        ("owner", "Changed the role of ada", {"role": "editor"}, {"role": "owner"}),
        ("owner", "Removed the member ada", {"role": "owner"}, None),
    ]


def test_member__invited__is_answered_the_same_whether_there_is_such_a_user(owner: Client, site: Site) -> None:
    User.objects.create_user("qq-ada")
    User.objects.create_user("qq-eve", is_active=False)
    shown = []
    for username in ("qq-ada", "qq-eve", "qq-nobody"):
        response = owner.post(BASE + "members/change/", {"do": "invite", "username": username, "role": "viewer"})
        page = text_of(response).replace(str(response.context["link"]), "").replace(username, "")
        shown.append((response.status_code, re.sub(r'csrf[^>]*|nonce="[^"]*"', "", page)))

    assert shown[0] == shown[1] == shown[2]
    assert site.memberships.count() == 1


@pytest.mark.parametrize(
    "why", ["somebody else", "altered", "too old", "removed", "removed in tables", "inviter gone", "inviter demoted"]
)
def test_invitation__that_is_over_or_of_somebody_else__opens_nothing(
    owner: Client, site: Site, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    Membership.objects.create(site=site, user=User.objects.create_user("second"), role="owner")
    link, ada = link_for(owner, "ada"), sign_in("eve" if why == "somebody else" else "ada")
    if why == "altered":
        link = link[:-3] + "x/"
    elif why == "too old":
        monkeypatch.setattr("api.pages.settings.invitations.DAYS", -1)
    elif why == "removed":
        assert ada.post(link).status_code == 302
        change(owner, "members/change/", do="remove", member=site.memberships.get(user__username="ada").pk)
    elif why == "removed in tables":
        assert ada.post(link).status_code == 302
        site.memberships.get(user__username="ada").delete()  # which the log tells in other words
    elif why == "inviter gone":
        User.objects.filter(username="owner").update(is_active=False)
    elif why == "inviter demoted":
        site.memberships.filter(user__username="owner").update(role="editor")
    known = set(site.memberships.values_list("user__username", flat=True))

    assert (ada.get(link).status_code, ada.post(link).status_code) == (404, 404)

    assert set(site.memberships.values_list("user__username", flat=True)) == known


def test_invitation__of_who_is_not_signed_in__leads_through_the_login(owner: Client, site: Site) -> None:
    link = link_for(owner, "ada")

    response = Client().post(link)

    assert (response.status_code, response.headers["Location"]) == (302, f"/admin/login/?next={quote(link)}")


def test_member__made_by_an_administrator__is_one_at_once(site: Site) -> None:
    admin = Client()
    admin.force_login(User.objects.create_superuser("admin"))
    User.objects.create_user("ada")

    change(admin, "members/change/", do="invite", username="ada", role="editor")

    assert site.memberships.get(user__username="ada").role == "editor"


def test_member__invited_as_users_are_made__signs_in_enters_no_table_and_signs_out(owner: Client, site: Site) -> None:
    User.objects.create_user("ada", password="on analytical engines")  # without “staff status”
    assert sign_in("ada").post(link_for(owner, "ada")).status_code == 302
    ada, home = Client(), f"/admin/s/{site.sitecode}/"

    signed_in = ada.post(f"/admin/login/?next={home}", {"username": "ada", "password": "on analytical engines"})

    assert (signed_in.status_code, signed_in.headers.get("Location")) == (302, home)
    assert "/admin/logout/" in text_of(ada.get(home))
    tables = ("tables", "api/message", "api/site", "api/credential")
    assert [ada.get(f"/admin/{table}/").status_code for table in tables] == [302] * 4
    assert ada.get("/admin/password_change/").status_code == 200
    assert ada.post("/admin/logout/").status_code == 200
    assert ada.get(home).status_code == 302


@pytest.mark.parametrize("do", ["remove", "role"])
def test_member__last_owner__stays_one(owner: Client, site: Site, do: str) -> None:
    member = site.memberships.get()

    change(owner, "members/change/", do=do, member=member.pk, role="viewer")

    member.refresh_from_db()
    assert member.role == "owner"
    assert not AuditEntry.objects.exists()
    assert "last owner" in look(owner, "members/")


def test_member__last_owner_who_may_sign_in__stays_one(owner: Client, site: Site) -> None:
    gone = User.objects.create_user("gone", is_active=False)
    Membership.objects.create(site=site, user=gone, role="owner")
    member = site.memberships.get(user__username="owner")

    change(owner, "members/change/", do="remove", member=member.pk)

    assert site.memberships.filter(pk=member.pk).exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"do": "invite", "username": "x" * 151, "role": "viewer"},
        {"do": "invite", "username": " ", "role": "viewer"},
        {"do": "invite", "username": "nobody", "role": "king"},
        {"do": "invite", "username": "owner", "role": "viewer"},
        {"do": "role", "member": "0", "role": "viewer"},
        {"do": "role", "member": "x", "role": "king"},
        {},
    ],
)
def test_member__odd_change__changes_nothing(owner: Client, site: Site, fields: dict[str, str]) -> None:
    change(owner, "members/change/", **fields)

    assert [member.role for member in site.memberships.all()] == ["owner"]


# What people changed


def test_changes__more_than_a_page__go_on_below(owner: Client, site: Site) -> None:
    user = User.objects.get(username="owner")
    for number in range(60):
        AuditEntry.objects.create(site=site, user=user, who="owner", at=timezone.now(), what=f"Change <{number}>.")
    other = create_site(name="Other")
    AuditEntry.objects.create(site=other, user=user, who="owner", at=timezone.now(), what="Elsewhere")

    first = owner.get(BASE + "changes/")
    shown = html.unescape(text_of(first))
    second = look(owner, f"changes/?{first.context['older']}")

    assert ("Change <59>." in shown, "Change <10>." in shown, "Change <9>." in shown) == (True, True, False)
    assert ("Change <9>." in second, "Change <0>." in second, "Older" in second) == (True, True, False)
    assert "Elsewhere" not in shown + second
    assert "<script" not in shown.partition("Change <59>")[2].partition("</table>")[0]


@pytest.mark.parametrize("before", ["x", "9" * 30, "-1", "%00"])
def test_changes__odd_page__is_the_first(owner: Client, before: str) -> None:
    assert "Nobody has changed anything yet" in look(owner, f"changes/?before={before}")

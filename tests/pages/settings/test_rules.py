"""The rules of a site: changed, moved, and tested on past events."""

import html
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.test import Client

from api.http.database import connection_parameters
from api.ingest.provisioning import create_site
from api.models import AuditEntry, Message, Rule, Site
from tests.support.concurrency import count_lock_waits, in_threads, wait_until
from tests.support.pages import text_of
from tests.support.settings_pages import BASE, change, told
from tests.world import World

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
    assert '<span class="gp-type">track</span> <bdi>_noise</bdi>' in text_of(response)
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
    assert "One event with and without this rule" in text_of(response)
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
    assert [entry.what.partition(" the rule")[0] for entry in entries] == ["Created", "Changed", "Switched", "Deleted"]
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
    change(owner, f"rules/{rule.pk}/", **fields)  # existing rules stay and can be changed
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

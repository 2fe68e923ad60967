"""What people see of sources, and do with their keys and rules, in the admin."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from api.ingest.provisioning import create_site, create_source
from api.models import Message, Rule, Site, Source, SourceTally, Twin, WriteKey
from tests.admin.conftest import form_of, save, text_of
from tests.world import START

LIST = reverse("admin:api_source_changelist")


@pytest.fixture
def web(site: Site) -> Source:
    return create_source(site, name="Web", kind="browser", write_key="key-of-the-web")


def page_of(source: Source) -> str:
    return reverse("admin:api_source_change", args=[source.pk])


# Sources


@pytest.mark.promise("A-01", "B-02")
def test_source__its_page__shows_each_key_to_copy_and_its_own_rules(person: Client, web: Source) -> None:
    Rule.objects.create(site=web.site, source=web, action="rename", argument="Page: {name}")

    shown = text_of(person.get(page_of(web)))

    assert '<code>key-of-the-web</code> <button type="button" class="button" data-copy="key-of-the-web">' in shown
    assert "api/copy.js" in shown
    assert "Page: {name}" in shown
    assert 'name="write_keys-0-key"' not in shown  # to be read, not to be changed


def test_source__through_which_messages_came__shows_how_many(person: Client, web: Source) -> None:
    for hours, received in ((0, 5), (1, 2), (48, 1_000)):
        at = timezone.now() - timedelta(hours=hours)
        SourceTally.objects.create(
            source=web,
            hour=at.replace(minute=0, second=0, microsecond=0),
            received=received,
            duplicates=1,
            rejected=0,
            last_received_at=at,
        )

    for path in (LIST, page_of(web)):
        assert "7 received, 2 of them duplicates, 0 rejected" in text_of(person.get(path))
    assert "1,007 received, 3 of them duplicates, 0 rejected" in text_of(person.get(page_of(web)))
    assert "never" in text_of(person.get(LIST))  # the other one


@pytest.mark.parametrize("count", [1, 20])
def test_sources__list_of_many__takes_the_same_queries(
    person: Client, site: Site, django_assert_max_num_queries: Any, count: int
) -> None:
    for number in range(count):
        create_source(site, name=f"Source {number}", kind="server")

    with django_assert_max_num_queries(12):
        text_of(person.get(LIST))


@pytest.mark.promise("B-06")
def test_source__that_has_a_twin__says_so_in_words(person: Client, site: Site, web: Source) -> None:
    server = create_source(site, name="<b>Server</b>", kind="server")
    Twin.objects.create(site=site, one=web, other=server, event_name="Buy", count=12, last_seen_at=START)

    shown = text_of(person.get(page_of(web)))
    assert "“&lt;b&gt;Server&lt;/b&gt;” sends the same events as this source: 12 times so far" in shown
    assert "switch off <em>takes track</em> at one of the two" in shown
    assert "“Web” sends the same events" in text_of(person.get(page_of(server)))


@pytest.mark.promise("A-10")
def test_source__new_key__ends_the_old_one_in_24_hours(person: Client, web: Source) -> None:
    response = save(person, page_of(web), _rotate="1")

    assert response.status_code == 302, response.content
    old, new = web.write_keys.order_by("pk")
    assert (old.key, new.ends_at) == ("key-of-the-web", None)
    assert old.ends_at is not None
    assert timedelta(hours=23) < old.ends_at - timezone.now() <= timedelta(hours=24)
    assert new.key in text_of(person.get(page_of(web)))


@pytest.mark.promise("A-10")
def test_source__key_revoked__ends_at_once_and_has_no_button_left(person: Client, web: Source) -> None:
    save(person, page_of(web), _rotate="1")
    assert "Revoke key-of-the-web" in text_of(person.get(page_of(web)))

    save(person, page_of(web), _revoke="key-of-the-web")

    old, new = web.write_keys.order_by("pk")
    assert old.ends_at is not None
    assert old.ends_at <= timezone.now()
    shown = text_of(person.get(page_of(web)))
    assert "Revoke key-of-the-web" not in shown
    assert f"Revoke {new.key}" in shown


@pytest.mark.parametrize("key", ["", "none", "a\0b", "x" * 5000, "the destination's"])
def test_source__key_of_another_revoked_here__stays(person: Client, site: Site, web: Source, key: str) -> None:
    destination = WriteKey.objects.get(source__kind="destination")

    save(person, page_of(web), _revoke=destination.key if key.startswith("the") else key)

    assert not WriteKey.objects.exclude(ends_at=None).exists()


@pytest.mark.promise("B-07")
@pytest.mark.parametrize("way", ["its page", "the page of its site"])
def test_source__takes_track_switched_off__notes_that_events_mean_something_else(
    person: Client, site: Site, web: Source, way: str
) -> None:
    path = page_of(web) if way == "its page" else reverse("admin:api_site_change", args=[site.pk])
    field = "takes_track" if way == "its page" else "sources-1-takes_track"
    assert save(person, path).status_code == 302
    site.refresh_from_db()
    assert site.rules_changed_at is None
    sent = form_of(person, path)
    del sent[field]

    assert person.post(path, sent).status_code == 302

    site.refresh_from_db()
    web.refresh_from_db()
    assert not web.takes_track
    assert site.rules_changed_at is not None


def test_source__of_altis__is_made_with_its_rules(person: Client, site: Site) -> None:
    save(person, reverse("admin:api_source_add"), site=site.pk, name="Altis", kind="altis")

    assert Rule.objects.filter(source__name="Altis").count() == 2


# Rules


ADD = reverse("admin:api_rule_add")


@pytest.fixture
def rule(site: Site) -> Rule:
    return Rule.objects.get()


def rule_page(rule: Rule) -> str:
    return reverse("admin:api_rule_change", args=[rule.pk])


@pytest.mark.promise("B-11")
def test_rule__made__comes_last_and_is_noted(person: Client, site: Site, rule: Rule) -> None:
    Rule.objects.update(position=4)

    response = save(person, ADD, site=site.pk, event_type="page", action="rename", argument=" {name} Viewed ")

    assert response.status_code == 302, response.content
    made = Rule.objects.exclude(pk=rule.pk).get()
    assert (made.position, made.argument, made.source, made.group_traits) == (5, " {name} Viewed ", None, {})
    site.refresh_from_db()
    assert site.rules_changed_at is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": ""},
        {"action": "rename", "argument": ""},
        {"action": "hash_field", "argument": "userId"},
        {"event_type": "click"},
        {"name_test": "pattern", "name_value": "{x}"},
        {"name_test": "prefix", "name_value": ""},
        {"path": "a..b", "path_test": "exists"},
        {"path": "properties.x"},
        {"group_traits": "["},
        {"group_traits": "[1]"},
        {"group_traits": '{"a": 1}'},
        {"group_traits": '{"a": ""}'},
        {"group_traits": '{"a": "\\u0000"}'},
        {"argument": "a\0b"},
        {"position": "first"},
        {"source": "9" * 30},
        {"site": ""},
    ],
    ids=str,
)
@pytest.mark.parametrize("button", ["_save", "_try"])
def test_rule__wrong__is_refused_on_the_page(person: Client, site: Site, wrong: dict[str, str], button: str) -> None:
    given = {"site": site.pk, "action": "drop", button: "1", **wrong}

    assert "errorlist" in text_of(save(person, ADD, **given))
    assert Rule.objects.count() == 1


@pytest.mark.parametrize("page", ["add", "change"])
def test_rule__for_a_source_of_another_site__is_refused(person: Client, site: Site, rule: Rule, page: str) -> None:
    other = create_source(create_site(name="Elsewhere"), name="Theirs", kind="server")
    path = ADD if page == "add" else rule_page(rule)

    assert "errorlist" in text_of(save(person, path, site=site.pk, action="drop", source=other.pk))
    assert not Rule.objects.filter(source=other).exists()


@pytest.mark.promise("B-11")
def test_rules__switched_and_moved_in_the_list__are_noted(person: Client, site: Site, rule: Rule) -> None:
    path = reverse("admin:api_rule_changelist")
    sent = {
        "form-TOTAL_FORMS": 1,
        "form-INITIAL_FORMS": 1,
        "form-0-id": rule.pk,
        "form-0-position": 9,
        "_save": "Save",
    }

    assert person.post(path, sent).status_code == 302

    rule.refresh_from_db()
    site.refresh_from_db()
    assert (rule.position, rule.is_enabled) == (9, False)
    assert site.rules_changed_at is not None


def test_rule__deleted__is_noted(person: Client, site: Site, rule: Rule) -> None:
    response = person.post(reverse("admin:api_rule_delete", args=[rule.pk]), {"post": "yes"})

    assert response.status_code == 302, response.content
    site.refresh_from_db()
    assert (Rule.objects.count(), site.rules_changed_at is not None) == (0, True)


@pytest.fixture
def messages(site: Site) -> None:
    """Two orders and something that the site's rule ignores."""
    Message.objects.all().delete()
    source = site.sources.get()
    for number, name in enumerate(("Order 1", "Order 2", "_noise", "<i>Odd</i>")):
        Message.objects.create(
            site=site,
            source=source,
            type="track",
            message_id=f"order-{number}",
            received_at=START,
            occurred_at=START,
            body=b'{"type": "track", "userId": "u", "event": "%s"}' % name.encode(),
        )


def rows(shown: str) -> dict[str, list[str]]:
    """The cells of the tables of a page by their row's head."""
    found = re.findall(r'<tr>\s*<th scope="row">(.*?)</th>(.*?)</tr>', shown, re.DOTALL)
    return {head: re.findall(r"<td>(.*?)</td>", cells, re.DOTALL) for head, cells in found}


@pytest.mark.promise("N-08", "B-11")
def test_rule__tried_before_it_is_made__shows_what_would_change(
    person: Client, site: Site, rule: Rule, messages: None
) -> None:
    given = {"site": site.pk, "action": "pattern_goal", "argument": "Order {n}", "_try": "1"}

    response = save(person, ADD, **given)

    assert rows(text_of(response)) == {
        "Goals made": ["3", "2"],
        "Conversions": ["3", "3"],
        "Messages dropped": ["1", "1"],
        "Messages rejected": ["0", "0"],
        "Profiles changed": ["", "0"],
        "SegmentIO track – &lt;i&gt;Odd&lt;/i&gt; (new)": ["1", "1"],
        "SegmentIO track – Order 1 (new)": ["1", "0"],
        "SegmentIO track – Order 2 (new)": ["1", "0"],
        "SegmentIO track – Order {n} (new)": ["0", "2"],
    }
    assert list(Rule.objects.all()) == [rule]
    site.refresh_from_db()
    assert site.rules_changed_at is None


@pytest.mark.promise("N-08")
def test_rule__tried_while_it_is_changed__is_not_counted_twice(person: Client, rule: Rule, messages: None) -> None:
    shown = rows(text_of(save(person, rule_page(rule), name_value="Order", _try="1")))

    assert shown["Messages dropped"] == ["1", "2"]
    rule.refresh_from_db()
    assert rule.name_value == "_"


def test_rule__tried_switched_off__does_nothing(person: Client, rule: Rule, messages: None) -> None:
    sent = form_of(person, rule_page(rule))
    del sent["is_enabled"]

    shown = rows(text_of(person.post(rule_page(rule), {**sent, "_try": "1"})))

    assert shown["Messages dropped"] == ["1", "0"]


def test_rule__tried_that_redacts__shows_the_profiles(person: Client, site: Site) -> None:
    Message.objects.update(type="identify", body=b'{"type": "identify", "userId": "u", "traits": {"mail": "<b>"}}')
    given = {"site": site.pk, "action": "drop_field", "argument": "traits.mail", "_try": "1"}

    shown = rows(text_of(save(person, ADD, **given)))

    assert shown["Profiles changed"] == ["", "1"]
    now, then = shown["user u"]
    assert "&lt;b&gt;" in now
    assert "mail" not in then

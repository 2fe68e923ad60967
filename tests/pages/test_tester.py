"""The event tester: a dry run says what would happen and writes nothing; sending is real."""

import html
import json
from typing import Any

import pytest
from django.test import Client

from api.http import credentials
from api.models import Message, Rule, Site, Source
from api.pages.events.tester import SAMPLES
from cohorts.models import Identity
from goals.models import Conversion, Goal
from tests.support.pages import Enter, text_of
from tests.world import World

PATH = "/admin/s/1q2w3e4r5t/tester/"


def post(person: Client, source: Source, event: Any, *, do: str = "dry") -> Any:
    body = event if isinstance(event, str) else json.dumps(event)
    return person.post(PATH, {"source": source.pk, "body": body, "do": do})


def dry(person: Client, source: Source, event: Any) -> str:
    return html.unescape(text_of(post(person, source, event)))


@pytest.mark.promise("K-82", "W12")
@pytest.mark.parametrize("sample", SAMPLES)
def test_dry_run__of_each_sample__says_what_sending_does_and_writes_nothing(
    editor: Client, world: World, source: Source, sample: str
) -> None:
    shown = dry(editor, source, SAMPLES[sample])

    assert "Nothing was written" in shown
    assert "Identifiers:" in shown
    assert "would be rejected" not in shown
    for model in (Message, Goal, Conversion, Identity):
        assert not model.objects.exists()

    post(editor, source, SAMPLES[sample], do="send")
    world.digest()

    (message,) = Message.objects.all()
    assert message.status == "done"
    promised = "is needed" in shown
    assert promised == Goal.objects.exists() == (sample in {"track", "page", "screen"})


def test_test__of_an_event__is_no_use_of_the_write_key(
    editor: Client, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[object] = []
    monkeypatch.setattr(credentials, "record_use", lambda kind, key: used.append((kind, key)))

    dry(editor, source, SAMPLES["track"])
    post(editor, source, SAMPLES["track"], do="send")

    assert used == []
    assert Message.objects.exists()


@pytest.mark.promise("K-82")
def test_dry_run__of_a_known_goal__names_it(editor: Client, world: World, source: Source) -> None:
    world.track("Buy")

    shown = dry(editor, source, {"type": "track", "event": "Buy", "userId": "u"})

    assert "Its name leads to “SegmentIO track – Buy”" in shown
    assert world.goals() == {"SegmentIO track – Buy": 1}


@pytest.mark.promise("K-82")
@pytest.mark.parametrize(
    ("event", "told"),
    [
        ("no JSON", "invalid_json"),
        ("[]", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ("\ud800".encode("utf-8", "replace").decode(), "invalid_json"),
        ({"type": "track", "userId": "u"}, "missing_name"),
        ({"type": "track", "event": "Buy"}, "no_identity"),
        ({"type": "group", "userId": "u"}, "missing_group_id"),
        ({"type": "nonsense", "userId": "u"}, "invalid_event"),
    ],
)
def test_event__that_is_refused__is_told_why_and_kept_when_sent(
    editor: Client, source: Source, event: Any, told: str
) -> None:
    assert f"<code>{told}</code>" in dry(editor, source, event)
    assert not Message.objects.exists()

    response = post(editor, source, event, do="send")

    message = Message.objects.get()
    assert (message.status, message.reason) == ("rejected", told)
    assert response["Location"] == f"/admin/s/1q2w3e4r5t/events/{message.pk}/?follow=1"


def test_event__pasted_with_a_byte_order_mark_and_a_type_in_capitals__is_read(editor: Client, source: Source) -> None:
    event = '\ufeff{"type": "Track", "event": "Buy", "userId": "u"}'

    assert "is needed" in dry(editor, source, event)
    post(editor, source, event, do="send")
    assert (Message.objects.get().type, Message.objects.get().status) == ("track", "pending")


@pytest.mark.promise("K-82")
def test_event__sent_twice__is_a_duplicate_of_the_first(editor: Client, source: Source) -> None:
    event = {"type": "track", "event": "Buy", "userId": "u", "messageId": "m1"}
    first = post(editor, source, event, do="send")["Location"]

    shown = dry(editor, source, event)
    second = post(editor, source, event, do="send")["Location"]

    message = Message.objects.get()
    assert f'It would be a duplicate of <a href="/admin/s/1q2w3e4r5t/events/{message.pk}/">' in shown
    assert first == second == f"/admin/s/1q2w3e4r5t/events/{message.pk}/?follow=1"


@pytest.mark.promise("K-82")
def test_event__sent__leads_to_its_page_which_follows_it_to_its_end(
    editor: Client, world: World, source: Source
) -> None:
    page = post(editor, source, SAMPLES["track"], do="send")["Location"]
    waiting = text_of(editor.get(page))
    world.digest()
    done = text_of(editor.get(page))

    assert ("api/follow.js" in waiting, "api/follow.js" in done) == (True, False)
    assert "Converted" in done
    assert Message.objects.get().source_id == source.pk


def test_event__of_a_source_with_rules__is_stored_as_they_let_it(editor: Client, site: Site, source: Source) -> None:
    Rule.objects.create(site=site, action="drop_field", argument="traits.plan")
    Rule.objects.create(site=site, action="drop", event_type="track", argument="no tests")

    identified = dry(editor, source, SAMPLES["identify"])
    dropped = dry(editor, source, SAMPLES["track"])

    assert "enterprise" not in identified.partition("Stored form")[2].partition("</section>")[0]
    assert "A rule ignores it: no tests" in dropped


@pytest.mark.parametrize("do", ["dry", "send"])
def test_event__through_a_source_that_is_off__is_told_so(editor: Client, source: Source, do: str) -> None:
    Source.objects.filter(pk=source.pk).update(is_enabled=False)

    response = post(editor, source, SAMPLES["track"], do=do)

    if do == "dry":
        assert "The source is disabled" in text_of(response)
        assert not Message.objects.exists()
    else:
        assert Message.objects.get().reason == "source_off"


def test_event__through_a_source_without_a_key__is_told_so(editor: Client, source: Source) -> None:
    source.write_keys.all().delete()

    assert "no valid write key" in text_of(post(editor, source, SAMPLES["track"], do="send"))
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("who", "statuses"),
    [
        ("viewer", [200, 200, 403]),
        ("editor", [200, 200, 302]),
        ("owner", [200, 200, 302]),
        ("outsider", [404, 404, 404]),
        ("anonymous", [302, 302, 302]),
    ],
)
def test_tester__whoever_asks__may_do_what_is_theirs(
    enter: Enter, source: Source, who: str, statuses: list[int]
) -> None:
    """To look, to try, to send."""
    person = enter(who)
    answers = [
        person.get(PATH),
        post(person, source, SAMPLES["track"]),
        post(person, source, SAMPLES["track"], do="send"),
    ]

    assert [answer.status_code for answer in answers] == statuses
    assert Message.objects.exists() == (who in {"editor", "owner"})


def test_tester__source_of_another_site__is_not_used(editor: Client, site: Site) -> None:
    post(editor, Source(pk=10**6), SAMPLES["track"], do="send")

    assert Message.objects.get().source.site == site  # type: ignore[union-attr]  # the first of its own

"""Confirmations: a page says in figures what an action takes away, before it does so."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from django.apps import apps
from django.contrib.messages import get_messages
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.utils import timezone

from api.models import AuditEntry, Credential, ManagementToken, SourceCount, WriteKey
from tests.pages.catalogue import ACTIONS, PAGES, Place
from tests.support.page_forms import filled, prepare
from tests.support.pages import Enter, text_of
from tests.world import World

ASKS: Final = [(name, do) for name in ACTIONS for do in PAGES[name].asks]
ENDS: Final = ("ends_at", "revoked_at", "deleted_at", "secret", "secret_hash", "scopes", "is_allowed_again")
MOVES: Final = {"claim", "waitingname", "goalcreation", "goaltotal", "goalday", "goalvisitor", "session"}


def everything() -> set[tuple[Any, ...]]:
    """Return every row with its end and its secret."""
    rows: set[tuple[Any, ...]] = set()
    for model in apps.get_models():
        if model._meta.app_label in {"api", "goals", "cohorts", "auth"} and model._meta.model_name not in MOVES:
            fields = [field.name for field in model._meta.get_fields() if field.name in ENDS]
            rows |= {
                (model._meta.label, *(tuple(value) if isinstance(value, list) else value for value in row))
                for row in model._default_manager.values_list("pk", *fields)
            }
    return rows


def forms_of(name: str, place: Place) -> Iterator[dict[str, Any]]:
    for given in PAGES[name].logged_forms:
        yield filled(given, place.numbers)


def press(client: Client, address: str, form: dict[str, Any], **options: Any) -> tuple[Any, set[tuple[Any, ...]]]:
    """Send a form and return the answer with the rows that are gone after it."""
    before = everything()
    response = client.post(address, form, **options)
    return response, before - everything()


def asks(response: HttpResponseBase) -> bool:
    return response.status_code == 200 and 'name="confirmed"' in text_of(response)


def sent_by(response: HttpResponseBase) -> dict[str, str]:
    """Return what the button of a confirmation sends."""
    ((form, _),) = re.findall(r'(<form method="post" class="gp-bar">(.*?)</form>)', text_of(response), re.DOTALL)
    pairs = re.findall(r'<(?:input type="hidden"|button class="[^"]*") name="([^"]*)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in pairs}


@pytest.mark.parametrize("name", ACTIONS)
def test_action__takes_something_away__asks_first(world: World, place: Place, enter: Enter, name: str) -> None:
    """Expect a form without confirmation to have a page of its own that says what is lost, or a button Undo."""
    prepare(world, place)
    owner, asking = enter("owner"), set()
    for form in forms_of(name, place):
        with transaction.atomic():
            known, page = AuditEntry.objects.count(), owner.get(place.address(name))
            response, lost = press(owner, place.address(name), form)
            if asks(response):
                asking.add((name, form.get("do", "")))
                assert (lost, AuditEntry.objects.count()) == (set(), known)
            elif lost:
                can_be_undone = any(message.extra_tags for message in get_messages(response.wsgi_request))
                assert PAGES[name].look is not None or can_be_undone, f"{name} takes {lost} away and does not ask"
                assert can_be_undone or "<form" in text_of(page)
            transaction.set_rollback(True)

    assert asking == {(name, do) for do in PAGES[name].asks}


@pytest.mark.parametrize(("name", "do"), ASKS)
def test_action__that_asks__is_done_by_the_button_and_says_so(
    world: World, place: Place, enter: Enter, name: str, do: str
) -> None:
    prepare(world, place)
    owner = enter("owner")
    (form,) = [form for form in forms_of(name, place) if form.get("do", "") == do]
    question, _ = press(owner, place.address(name), form)
    back = re.search(r'<a class="gp-button" href="([^"]+)">Cancel', text_of(question))
    assert back is not None
    assert owner.get(html.unescape(back[1])).status_code == 200

    response, lost = press(owner, place.address(name), sent_by(question), follow=True)

    assert lost
    is_secret_shown = "You won't see this again" in text_of(response)
    assert is_secret_shown or [str(message) for message in response.context["messages"]]
    assert len(question.context["facts"]) > 0


@pytest.mark.parametrize("name", sorted({name for name, _ in ASKS}))
def test_action__that_asks__is_asked_of_who_may_do_it_only(world: World, place: Place, enter: Enter, name: str) -> None:
    prepare(world, place)
    for form in forms_of(name, place):
        response = enter("viewer").post(place.address(name), form)
        assert response.status_code == 403


def count(world: World, received: int) -> None:
    now = timezone.now()
    source = world.site.sources.get(kind="destination")
    SourceCount.objects.filter(source=source).delete()
    SourceCount.objects.create(
        site_id=source.site_id,
        source=source,
        hour=now,
        received=received,
        duplicates=0,
        rejected=0,
        last_received_at=now,
    )


def facts_of(world: World, place: Place, owner: Client, name: str, **form: Any) -> str:
    response: Any = owner.post(place.address(name), form)
    return "\n".join(response.context["facts"])


@pytest.mark.parametrize(("received", "told"), [(0, "0 events came"), (1, "1 event came"), (1234, "1,234 events came")])
def test_question__of_a_key__says_who_used_it_last_when_and_how_much(
    world: World, place: Place, enter: Enter, received: int, told: str
) -> None:
    owner, source = enter("owner"), world.site.sources.get(kind="destination")
    context = {"library": {"name": "analytics-node", "version": "2.1.3"}}
    world.track("Buy", context=context)
    count(world, received)
    key = WriteKey.objects.create(source=source, key="k" * 20)
    at = timezone.now() - timedelta(hours=3)
    WriteKey.objects.update(last_used_at=at)
    Credential.objects.update(last_used_at=at)

    write_key = facts_of(world, place, owner, "settings-sources-change", do="revoke", source=source.pk, key=key.key)
    credential = facts_of(
        world, place, owner, "settings-credentials-change", do="revoke", credential=world.credential.pk
    )

    for facts in (write_key, credential):
        assert f"last used on {at:%Y-%m-%d} at {at:%H:%M} UTC" in facts
        assert told in facts
        assert ("analytics-node 2.1.3" in facts) is (received > 0)


def test_question__of_a_token__says_what_it_changed(world: World, place: Place, enter: Enter) -> None:
    prepare(world, place)
    token = ManagementToken.objects.get()
    AuditEntry.objects.create(
        site=world.site, who=f"token {token.pk} “{token}”", at=timezone.now(), what="Made the goal 1"
    )

    facts = facts_of(world, place, enter("owner"), "settings-tokens-change", do="revoke", token=token.pk)

    assert "Created by ada" in facts
    assert "never used" in facts
    assert "30 days: 1." in facts


def test_question__of_a_rule__says_what_the_last_events_would_do_without_it(
    world: World, place: Place, enter: Enter
) -> None:
    rule = place.numbers["rule_id"]
    world.site.rules.filter(pk=rule).update(name_value="Looked")

    facts = facts_of(world, place, enter("owner"), "settings-rules-change", do="delete", rule=rule)

    now, then = re.search(r"(\d+) conversions? instead of (\d+)", facts).groups()  # type: ignore[union-attr]
    assert int(now) == int(then) + 1

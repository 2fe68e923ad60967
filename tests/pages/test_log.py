"""The audit log has every change by a person: who, when, before and after, and never a secret."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from api.models import AuditEntry, Credential, Message, WriteKey
from goals.catalogue import archive_goal
from goals.models import Goal
from tests.pages import catalogue
from tests.pages.catalogue import PAGES, Place
from tests.support.page_forms import filled, prepare
from tests.support.pages import Enter, text_of
from tests.support.settings_pages import sent_form
from tests.world import SECRET, SITECODE, World

ACTIONS: Final = [name for name in catalogue.ACTIONS if PAGES[name].is_logged]
LOG: Final = f"/admin/s/{SITECODE}/settings/changes/"


def entries_after(known: int) -> list[AuditEntry]:
    return list(AuditEntry.objects.order_by("pk")[known:])


@pytest.mark.promise("I-29", "N-10")
@pytest.mark.parametrize("name", ACTIONS)
def test_action__of_a_page__is_in_the_log(world: World, place: Place, enter: Enter, name: str) -> None:
    prepare(world, place)
    owner = enter("owner")
    for given in PAGES[name].logged_forms:
        with transaction.atomic():
            if name == "goal-restore":
                archive_goal(Goal.objects.get(pk=place.numbers["goal_id"]), now=timezone.now())
            if name == "goal-group":
                viewed = "SegmentIO track – Viewed order 1234"
                Goal.objects.filter(pk=place.numbers["goal_id"]).update(name=viewed, origin=Goal.Origin.EVENT)
            if name == "guide-key":  # a source with a key needs no other
                WriteKey.objects.filter(source__site=world.site).delete()
            if given.get("do") == "withdraw":  # the invitation must be open
                owner.post(place.address(name), {**given, "do": "invite", "role": "viewer"})
            known, began = AuditEntry.objects.count(), timezone.now()
            form = filled(given, place.numbers)
            if name == "settings-save":
                form = {**sent_form(owner), **form}
            response: Any = owner.post(place.address(name), {**form, "confirmed": "yes"})
            assert response.status_code < 400, (form, response.content[:2000])
            entry = next(iter(entries_after(known)), None)
            assert entry is not None, (form, response.status_code)
            assert (entry.who, entry.user, entry.site) == ("owner", User.objects.get(username="owner"), world.site)
            assert began <= entry.at <= timezone.now()
            assert entry.what
            assert (entry.before, entry.after) != (None, None)
            assert entry.before != entry.after
            expect_no_secret()
            transaction.set_rollback(True)


def expect_no_secret() -> None:
    log = json.dumps(list(AuditEntry.objects.values("what", "before", "after")))
    assert SECRET not in log
    for credential in Credential.objects.all():
        assert credential.secret_hash not in log
        assert not credential.old_secret_hash or credential.old_secret_hash not in log
    for user in User.objects.exclude(password=""):
        assert user.password not in log


# Commands


def test_command__that_changes_something__is_in_the_log(world: World, tmp_path: Path) -> None:
    plan, events = tmp_path / "plan.csv", tmp_path / "events.jsonl"
    plan.write_text("type,name\ntrack,Bought\n")
    events.write_text(json.dumps({"type": "track", "event": "A", "userId": "u", "messageId": "m"}) + "\n")
    world.track("Looked")
    Message.objects.update(status="failed", reason="digest_failed")
    source = world.site.sources.get().name
    for who, arguments in (
        ("load_plan", [str(plan), "--site", SITECODE]),
        ("load", [str(events), "--source", source, "--site", SITECODE]),
        ("replay", ["--site", SITECODE, "--reason", "digest_failed"]),
    ):
        call_command(who, *arguments)
        entry = AuditEntry.objects.latest("pk")
        assert (entry.who, entry.user, entry.site) == (f"manage.py {who}", None, world.site)


# The page


def test_log__filtered__tells_what_was_asked_for(world: World, enter: Enter) -> None:
    owner = enter("owner")
    user = User.objects.get(username="owner")
    for day, who, what in ((1, "ada", "Renamed the goal 1"), (2, "bob", "Made the rule 7"), (3, "ada", "Made a goal")):
        at = timezone.now().replace(year=2026, month=1, day=day, hour=12)
        AuditEntry.objects.create(site=world.site, user=user, who=who, at=at, what=what, before=None, after={"n": day})

    def shown(query: str) -> set[str]:
        page = text_of(owner.get(f"{LOG}?{query}"))
        return {what for what in ("Renamed the goal 1", "Made the rule 7", "Made a goal") if what in page}

    assert shown("") == shown("who=&what=&since=x") == {"Renamed the goal 1", "Made the rule 7", "Made a goal"}
    assert shown("who=ada") == {"Renamed the goal 1", "Made a goal"}
    assert shown("who=ad") == set()
    assert shown("what=MADE") == {"Made the rule 7", "Made a goal"}
    assert shown("since=2026-01-02T00:00") == {"Made the rule 7", "Made a goal"}
    assert shown("until=2026-01-02T00:00&who=ada") == {"Renamed the goal 1"}
    assert shown("what=%00") == set()
    assert "No matching changes" in text_of(owner.get(f"{LOG}?who=nobody"))


def test_log__filtered_and_longer_than_a_page__goes_on_below(world: World, enter: Enter) -> None:
    owner = enter("owner")
    for number in range(120):
        who = "ada" if number % 2 else "bob"
        AuditEntry.objects.create(site=world.site, who=who, at=timezone.now(), what=f"Change {number:03}")

    page: Any = owner.get(f"{LOG}?who=ada")
    rest: Any = owner.get(f"{LOG}?{page.context['older']}")

    found = [entry.what for entry in [*page.context["entries"], *rest.context["entries"]]]
    assert found == [f"Change {number:03}" for number in range(119, 0, -2)]
    assert rest.context["older"] == ""

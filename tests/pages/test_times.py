"""Times on pages: the zone of the site, that of the person, and relative times."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from api import tasks
from api.http.wording import ago_in_words, replace_times, time_with_zone
from api.models import AuditEntry, Message, Profile, Site
from api.pages.query_form import TimeField
from goals.models import Goal
from tests.support.pages import Enter, address, browser_of, text_of
from tests.world import World
from zones import find_zone

ZURICH, NEW_YORK = "Europe/Zurich", "America/New_York"
AT = datetime(2026, 11, 26, 6, 55, 10, tzinfo=UTC)
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def event(world: World) -> Message:
    """Return an event of the site that was received at AT, while the site is in Zurich."""
    world.track("Order Completed")
    Site.objects.filter(pk=world.site.pk).update(time_zone=ZURICH)
    Message.objects.update(received_at=AT)
    return Message.objects.get()


def own_zone(username: str, zone: str) -> None:
    Profile.objects.update_or_create(user=User.objects.get(username=username), defaults={"time_zone": zone})


def test_times__of_a_person_without_a_zone__are_in_that_of_the_site(event: Message, enter: Enter) -> None:
    page = text_of(enter("viewer").get(address(f"events/{event.pk}/")))

    assert '<time datetime="2026-11-26T06:55:10Z">26 Nov 2026, 07:55:10</time>' in page
    assert page.count(f"Times in {ZURICH}") == 1
    assert " UTC" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL).replace("figures in UTC", "")


def test_times__of_a_person_with_a_zone__are_in_it_on_every_page(event: Message, enter: Enter) -> None:
    person = enter("viewer")
    own_zone("viewer", NEW_YORK)

    assert "26 Nov 2026, 01:55:10" in text_of(person.get(address(f"events/{event.pk}/")))
    assert "26 Nov 2026, 07:55:10" in text_of(enter("editor").get(address(f"events/{event.pk}/")))


def test_profile__of_a_person__is_chosen_on_its_page(world: World, enter: Enter) -> None:
    person = enter("viewer")
    form = text_of(person.get("/admin/profile/"))
    assert 'value="America/New_York"' in form
    assert "Argentina/Buenos Aires" in form
    assert person.post("/admin/profile/", {"time_zone": "Mars/Olympus"}).status_code == 400

    assert person.post("/admin/profile/", {"time_zone": NEW_YORK}).status_code == 302

    assert Profile.objects.get().time_zone == NEW_YORK
    assert f"Times in {NEW_YORK}" in text_of(person.get(address("")))
    person.post("/admin/profile/", {"time_zone": ""})
    assert "Times in UTC" in text_of(person.get(address("")))
    assert Client().get("/admin/profile/").status_code == 302


def test_events__of_two_days__have_a_line_for_each_day(event: Message, world: World, enter: Enter) -> None:
    world.track("Order Completed")
    late = Message.objects.exclude(pk=event.pk)
    late.update(received_at=datetime(2026, 11, 26, 23, 30, tzinfo=UTC))  # the 27th in Zurich

    page = text_of(enter("viewer").get(address("events/")))

    lines = re.findall(r'<tr class="gp-day"><th colspan="6">(.*?)</th>', page)
    assert lines == ["Friday, 27 Nov 2026", "Thursday, 26 Nov 2026"]
    assert ">00:30:00</time>" in page
    assert ">07:55:10</time>" in page


def test_relative_time__in_a_list__has_the_whole_time_in_its_title(world: World, enter: Enter) -> None:
    world.track("Order Completed")
    Site.objects.update(time_zone=ZURICH)

    page = text_of(enter("viewer").get(address("goals/")))

    time: Any = re.search(r'<time datetime="(.*?)" class="gp-ago" title="(.*?)" data-ago="(.*?)">(.*?)</time>', page)
    at = datetime.fromisoformat(time[1])
    assert time[2] == time_with_zone(at, find_zone(ZURICH))
    assert float(time[3]) == pytest.approx((datetime.now(UTC) - at).total_seconds(), abs=60)
    assert re.fullmatch(r"\d+ \w+ ago", time[4])


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (timedelta(0), "0 s ago"),
        (timedelta(seconds=59.9), "59 s ago"),
        (timedelta(minutes=3, seconds=50), "3 min ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(hours=24), "1 day ago"),
        (timedelta(days=6, hours=23), "6 days ago"),
        (timedelta(days=7), "19 Nov 2026"),
        (-timedelta(minutes=5), "in 5 min"),
        (-timedelta(days=2), "in 2 days"),
    ],
)
def test_ago__of_a_time__is_its_distance_or_its_day(before: timedelta, text: str) -> None:
    assert ago_in_words(NOW - before, find_zone(ZURICH), now=NOW) == text


def test_sentences__with_times_in_utc__show_them_in_another_zone() -> None:
    def write(at: datetime) -> str:
        return time_with_zone(at, find_zone(ZURICH))

    assert replace_times("Since 2026-11-26 06:55:10 UTC, used on 2026-07-01 at 23:05 UTC.", write) == (
        "Since 26 Nov 2026, 07:55:10 (Europe/Zurich), used on 2 Jul 2026, 01:05:00 (Europe/Zurich)."
    )
    assert replace_times("no day: 2026-13-40 06:55:10 UTC", write) == "no day: 2026-13-40 06:55:10 UTC"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-26T07:55", datetime(2026, 11, 26, 6, 55, tzinfo=UTC)),
        ("2026-07-01 01:05:07", datetime(2026, 6, 30, 23, 5, 7, tzinfo=UTC)),
        ("2026-11-26T07:55:00Z", datetime(2026, 11, 26, 7, 55, tzinfo=UTC)),
        ("2026-11-26T07:55:00+05:30", datetime(2026, 11, 26, 2, 25, tzinfo=UTC)),
        ("2026-10-25T02:30", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # twice; the first
        ("2026-03-29T02:30", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),  # never
    ],
)
def test_time_of_a_form__without_an_offset__is_in_the_zone_of_the_page(text: str, at: datetime) -> None:
    with timezone.override(find_zone(ZURICH)):
        assert TimeField().clean(text) == at


def test_filter__by_times__reads_them_in_the_zone_of_the_page(event: Message, enter: Enter) -> None:
    person = enter("viewer")

    found = text_of(person.get(address("events/?since=2026-11-26T07:55&until=2026-11-26T07:56")))
    missed = text_of(person.get(address("events/?since=2026-11-26T06:55&until=2026-11-26T06:56")))

    assert f'data-id="{event.pk}"' in found
    assert 'value="2026-11-26T07:55"' in found
    assert f'data-id="{event.pk}"' not in missed


def test_site__with_a_zone__is_made_and_changed_by_its_forms(world: World, enter: Enter) -> None:
    owner = enter("owner")
    page = owner.get(address("settings/"))
    fields = {field.html_name: field.value() for field in page.context["form"]}
    posted = {name: "on" if value is True else value for name, value in fields.items() if value not in (None, False)}
    posted |= {"time_zone": ZURICH, "first_weekday": "6"}

    assert owner.post(address("settings/save/"), posted).status_code == 302

    site = Site.objects.get()
    assert (site.time_zone, site.first_weekday) == (ZURICH, 6)
    assert AuditEntry.objects.latest("pk").after == {"time_zone": ZURICH, "first_weekday": 6}
    assert owner.post(address("settings/save/"), {**posted, "time_zone": "Mars/Olympus"}).status_code == 400


def test_zone__of_one_request__ends_with_it(world: World, enter: Callable[[str], Client]) -> None:
    Site.objects.update(time_zone=ZURICH)

    browser_of(world.site, "viewer").get(address(""))

    assert timezone.get_current_timezone_name() == "UTC"


@pytest.mark.parametrize("page", ["", "goals/", "goals/{goal}/", "settings/"])
def test_page__while_days_are_counted_again__says_so(world: World, enter: Enter, page: str) -> None:
    world.track("Order Completed")
    viewer = enter("owner")
    page = page.format(goal=Goal.objects.get().pk)
    assert "being counted again" not in text_of(viewer.get(address(page)))

    world.change_site(time_zone=ZURICH)
    assert f"being counted again in {ZURICH}: 1 goal is left" in text_of(viewer.get(address(page)))

    tasks.recount_days.run()
    assert "being counted again" not in text_of(viewer.get(address(page)))

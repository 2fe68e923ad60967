"""One timeline of a person: every kind of moments, newest first, page by page."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from api.insight import timeline
from api.insight.people import look_up
from api.insight.timeline import Moment, MomentKind, TimelinePlace, load_timeline
from api.models import Message
from goals.models import Goal
from tests.support.ada import ENTERED, EXITED, send_ada
from tests.support.messages import forget_messages
from tests.support.pages import address, browser_of, text_of
from tests.support.sdk import line, send_lines
from tests.support.segments import make_segment
from tests.world import START, World

ALL = frozenset(MomentKind)


def moments_of(world: World, id_: str, **given: Any) -> list[Moment]:
    person = look_up(world.site, id_)
    assert person is not None
    return load_timeline(world.site, person, **{"kinds": ALL, "place": None, **given}).moments


def walk(world: World, id_: str, *, limit: int) -> list[Moment]:
    """Return the moments of all pages."""
    person = look_up(world.site, id_)
    assert person is not None
    found: list[Moment] = []
    place: TimelinePlace | None = None
    for _ in range(100):
        page = load_timeline(world.site, person, kinds=ALL, place=place, limit=limit)
        found += page.moments
        place = page.next
        if place is None:
            return found
        assert len(page.moments) == limit
    raise AssertionError("too many pages")


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


@pytest.fixture
def ada(world: World) -> World:
    make_segment(world.site, [{"on": "persona", "name": "vip"}], name="VIPs")
    send_ada(world)
    world.send(world.event("track", at=8, userId="ada-king", **ENTERED))
    return world


def test_timeline__of_a_person__has_each_kind_newest_first(ada: World) -> None:
    ada.send(ada.event("track", at=7, userId="ada-king", event=None))  # rejected
    moments = moments_of(ada, "visitor-1")

    assert [each.at for each in moments] == sorted((each.at for each in moments), reverse=True)
    by_kind = {kind: [each for each in moments if each.kind == kind] for kind in MomentKind}
    (bought,) = by_kind[MomentKind.CONVERSION]
    assert (bought.name, bought.at, str(bought.revenue), bought.currency) == (
        "SegmentIO track – Bought",
        at(5),
        "12.500000",
        "EUR",
    )
    assert bought.number == Goal.objects.get().pk
    assert [(each.name, each.has_entered, each.at) for each in by_kind[MomentKind.PERSONA]] == [
        ("vip", True, at(8)),
        ("vip", False, at(4)),
        ("vip", True, at(3)),
    ]
    assert [(each.name, each.has_entered) for each in by_kind[MomentKind.SEGMENT]] == [("VIPs", True)]
    assert [(each.type, each.note) for each in by_kind[MomentKind.EVENT]] == [
        ("track", "rejected"),
        ("group", "done"),
        ("identify", "done"),
        ("identify", "done"),
    ]
    assert [(each.name, each.at) for each in by_kind[MomentKind.LINK]] == [
        ("visitor visitor-1 belongs to user ada-king", at(1)),
        ("anonymous anon-1 belongs to user ada-king", at(0)),
    ]
    assert all(each.event is not None for each in moments if each.kind != MomentKind.SEGMENT)

    forget_messages()
    left = moments_of(ada, "visitor-1")
    assert [each.kind for each in left if each.kind == MomentKind.EVENT] == []
    assert [each._replace(event=None) for each in moments if each.kind != MomentKind.EVENT] == left


def test_timeline__of_sdk_lines__has_page_views_and_exposures(world: World) -> None:
    send_lines(
        world, line("page", href="https://shop.example/a", title="Shop"), line("experiment", id=1, variationId=2)
    )

    moments = moments_of(world, "v1")

    assert {(each.kind.value, each.name, each.note) for each in moments} == {
        ("page", "Shop", "https://shop.example/a"),
        ("exposure", "Variation 2 of experiment 1", ""),
    }


def test_timeline__of_an_exposure_that_an_event_says__has_its_names(world: World) -> None:
    properties = {"experiment_id": "checkout-2", "experiment_name": "Checkout 2", "variation_id": "b"}
    world.send(world.event(event="Experiment Viewed", properties=properties))

    exposures = [moment for moment in moments_of(world, "user-1") if moment.kind == MomentKind.EXPOSURE]

    assert [moment.name for moment in exposures] == ["Variation b of Checkout 2"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_timeline__page_by_page__has_each_moment_once(world: World, limit: int) -> None:
    """Also if several moments of all kinds have one time."""
    send_ada(world)
    for second in (10, 10, 10, 11):
        world.send(
            world.event("track", at=second, event="Bought", userId="ada-king"),
            world.event("track", at=second, userId="ada-king", **ENTERED),
            world.event("track", at=second, userId="ada-king", **EXITED),
            world.event("identify", at=second, userId="ada-king", anonymousId="anon-2", traits={"a": second}),
        )
    whole = moments_of(world, "ada-king")
    assert len(whole) > 15

    assert walk(world, "ada-king", limit=limit) == whole


def test_timeline__of_some_kinds__has_those_alone(ada: World) -> None:
    for kind in MomentKind:
        found = moments_of(ada, "ada-king", kinds=frozenset({kind}))
        assert {each.kind for each in found} <= {kind}
        assert found == [each for each in moments_of(ada, "ada-king") if each.kind == kind]


def test_timeline__of_an_exit_without_an_entrance__says_no_change(world: World) -> None:
    world.send(world.event("track", userId="ada-king", **EXITED))
    assert [each.kind for each in moments_of(world, "ada-king")] == [MomentKind.EVENT]


def test_timeline__of_a_person_with_many_identifiers__searches_events_for_the_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "MOST_SPELLED", 1, raising=False)
    for number in range(3):
        world.send(world.event("identify", at=number, userId="u-1", anonymousId=f"a-{number}", traits={"age": number}))
    world.send(*(world.event("track", at=9, userId=None, anonymousId=f"a-{number}", event=None) for number in range(3)))
    found = moments_of(world, "u-1", kinds=frozenset({MomentKind.EVENT}))
    assert 0 < len(found) < 6


def test_timeline__of_very_many_moments_of_one_time__goes_on_before_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "MOST_SKIPPED", 3)
    world.send(
        world.event("track", at=1, event="First", userId="ada-king"),
        *(world.event("track", at=2, event="Bought", userId="ada-king") for _ in range(8)),
    )
    moments = walk(world, "ada-king", limit=2)
    assert [each.at for each in moments] == [at(2)] * 4 + [at(1)]


def test_page__of_a_person_with_a_queued_event__says_queued(world: World) -> None:
    world.send(world.event("identify", userId="ada-king", traits={"age": 36}))
    Message.objects.update(status=Message.Status.PENDING)
    page = text_of(browser_of(world.site, "viewer").get(address("people/person/"), {"id": "ada-king"}))
    assert '<span class="gp-badge">queued</span>' in page


def test_timeline__of_another_person__has_none_of_it(ada: World) -> None:
    assert {each.kind for each in moments_of(ada, "grace")} == {MomentKind.PERSONA, MomentKind.SEGMENT}


def test_page__of_a_person__is_called_by_name_and_filters_its_timeline(
    ada: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.identify(at=9, userId="ada-king", traits={"name": "Ada King", "email": "ada@example.com"})
    viewer = browser_of(ada.site, "viewer")
    monkeypatch.setattr(timeline.load_timeline, "__kwdefaults__", {"limit": 2})

    response: Any = viewer.get(address("people/person/?id=anon-1"))
    page = text_of(response)
    assert response.context["title"] == "Ada King"
    assert "ada@example.com" in page
    assert "Earlier" in page
    response = viewer.get(address("people/person/?id=anon-1&kind=persona&kind=segment"))
    text_of(response)
    assert {each.kind.value for each in response.context["timeline"].moments} <= {"persona", "segment"}
    older: Any = viewer.get(address(f"people/person/?{response.context['older']}"))
    text_of(older)
    assert {each.kind.value for each in older.context["timeline"].moments} <= {"persona", "segment"}
    assert not set(older.context["timeline"].moments) & set(response.context["timeline"].moments)

"""Choices of a breakdown page: the rows that it opens with, its selects, its bars and the links of its rows."""

import html
import re
from itertools import chain
from typing import Any

import pytest
from django.http import QueryDict

from api.insight.breakdowns import BreakdownBy, VisitorFilter
from api.pages.goals.breakdown_choices import split_choices, write_only
from goals.models import Goal
from tests.support.ada import ENTERED
from tests.support.goal_pages import page_of
from tests.support.pages import Enter, text_of
from tests.support.segments import make_segment
from tests.world import World

DAYS = "from=2026-11-20&to=2026-11-22"


@pytest.fixture
def shop(world: World, goal: Goal) -> Goal:
    """Return a goal with eight conversions, and one of everything that a breakdown may be by."""
    world.identify(userId="u1", traits={"tier": "gold", "a:b": "x"})
    world.send(
        world.event("track", userId="u1", **ENTERED),
        world.event("group", userId="u1", groupId="acme"),
        *(
            world.event(
                "track",
                at=10 + number,
                event="Buy",
                userId=f"v{number}",
                properties={
                    "plan": ("pro", "free")[number % 2],
                    "order": f"o{number}",
                    "shop": "zrh",
                    "address": {"city": ("Zug", "Bern", "Chur")[number % 3]},
                },
            )
            for number in range(6)
        ),
    )
    world.track("Other", userId="u2")
    make_segment(world.site, [{"on": "persona", "name": "vip"}], name="Vips")
    return goal


def options_of(page: str, name: str) -> dict[str, list[str]]:
    """Return the values of a select's options by group."""
    select = page.partition(f'<select name="{name}"')[2].partition("</select>")[0]
    groups = re.findall(r'<optgroup label="(.*?)">(.*?)</optgroup>', select)
    return {title: [html.unescape(each) for each in re.findall('value="(.*?)"', options)] for title, options in groups}


def test_breakdown__without_a_choice__opens_with_the_fewest_and_fullest_values(shop: Goal, enter: Enter) -> None:
    page = enter("viewer").get(f"{page_of(shop, 'breakdown/')}?{DAYS}")

    assert (page.context["by"], page.context["path"]) == ("property", "plan")
    assert [(row.name, row.part.conversions) for row in page.context["breakdown"].parts] == [
        ("pro", 4),
        ("free", 3),
        ("<b>free</b>", 1),
    ]
    assert '<option value="property:plan" selected>' in text_of(page)


def test_breakdown__of_a_time_without_conversions__opens_by_source(shop: Goal, enter: Enter) -> None:
    page = enter("viewer").get(f"{page_of(shop, 'breakdown/')}?from=2026-10-01&to=2026-10-02")

    assert page.context["by"] == "source"
    assert "No conversions in this period." in text_of(page)


def test_breakdown__of_a_shop__offers_what_came(shop: Goal, enter: Enter) -> None:
    page = text_of(enter("viewer").get(f"{page_of(shop, 'breakdown/')}?{DAYS}"))

    properties = ["address.city", "currency", "order", "plan", "revenue", "shop"]
    assert options_of(page, "by") == {
        "Properties": [f"property:{name}" for name in properties],
        "Traits": ["trait:a:b", "trait:tier"],
        "More": ["persona", "group", "segment", "goal", "source", "currency"],
    }
    assert options_of(page, "only") == {
        "Personas": ["persona:vip"],
        "Segments": ["segment:Vips"],
        "Groups": ["group:acme"],
    }


@pytest.mark.parametrize(
    ("query", "shares"),
    [
        ("by=property:plan", ["50 %", "37.5 %", "12.5 %"]),
        ("by=property:address.city", ["25 %", "25 %", "25 %", "25 %"]),
        ("by=currency", ["87.5 %", "12.5 %"]),
        ("by=persona", ["87.5 %", "12.5 %"]),
        ("by=property:plan&only=persona:vip", ["100 %"]),
    ],
)
def test_breakdown__of_a_shop__has_a_bar_and_a_share_in_each_row(
    shop: Goal, enter: Enter, query: str, shares: list[str]
) -> None:
    page = text_of(enter("viewer").get(f"{page_of(shop, 'breakdown/')}?{DAYS}&{query}"))

    rows = re.findall(r'<rect width="([\d.]+)" height="1"/></svg></td><td class="gp-number gp-first">(.*?)</td>', page)
    assert [share for _, share in rows] == shares
    assert [float(width) for width, _ in rows] == [float(share.removesuffix(" %")) for share in shares]


@pytest.mark.parametrize(
    ("by", "name", "says"),
    [
        ("persona", "vip", "in the persona <strong>vip</strong>: 1 conversion"),
        ("segment", "Vips", "in the segment <strong>Vips</strong>: 1 conversion"),
        ("group", "acme", "in the group <strong>acme</strong>: 1 conversion"),
        ("trait:tier", "gold", "with tier = <strong>gold</strong>: 1 conversion"),
        ("trait:a:b", "x", "with a:b = <strong>x</strong>: 1 conversion"),
        ("goal", "track Other", "converted the goal <strong>track Other</strong>: 1 conversion"),
    ],
)
def test_breakdown__by_visitors__links_each_row_to_them_alone(
    shop: Goal, enter: Enter, by: str, name: str, says: str
) -> None:
    viewer, address = enter("viewer"), page_of(shop, "breakdown/")
    links = {
        text: html.unescape(query)
        for query, text in re.findall(
            r'<a href="\?([^"]*)">([^<]*)</a></span><svg', text_of(viewer.get(f"{address}?{DAYS}&by={by}"))
        )
    }

    page = viewer.get(f"{address}?{links[name]}")

    assert says in text_of(page)
    assert "(none)" not in links
    assert page.context["by"] == "property"  # the most useful one
    assert page.context["only_picker"].chosen in chain(*options_of(text_of(page), "only").values())
    assert page.context["span"].parts["from"] == "2026-11-20"


def test_breakdown__of_some_visitors__offers_to_show_everyone(shop: Goal, enter: Enter) -> None:
    viewer, address = enter("viewer"), page_of(shop, "breakdown/")
    page = text_of(viewer.get(f"{address}?{DAYS}&by=currency&only=persona:vip"))

    (link,) = re.findall(r'href="\?([^"]*)">Show everyone', page)
    everyone: Any = viewer.get(f"{address}?{html.unescape(link)}")

    assert everyone.context["only"] is None
    assert everyone.context["by"] == "currency"


def test_tabs__of_a_goal_with_a_filter__keep_it_and_say_where_it_holds(shop: Goal, enter: Enter) -> None:
    viewer = enter("viewer")
    query = "range=7d&compare=none&by=currency&only=persona&value=vip"

    for tab in ("", "breakdown/", "conversions/"):
        page = text_of(viewer.get(f"{page_of(shop, tab)}?{query}"))
        for other in ("", "breakdown/", "conversions/"):
            assert f'href="{page_of(shop, other)}?{query.replace("&", "&amp;")}"' in page
        assert ("This page counts everyone." in page) == (tab != "breakdown/")


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("by=property:a:b", "by=property&path=a%3Ab"),
        ("by=trait:plan&path=old", "by=trait&path=plan"),
        ("by=currency&path=old", "by=currency"),
        ("path=plan", "path=plan"),
        ("by=trait&path=plan&only=persona&value=vip", "by=trait&path=plan&only=persona&value=vip"),
        ("only=persona:a:b&trait=x", "only=persona&value=a%3Ab"),
        ("only=&trait=x&value=y&range=7d", "range=7d"),
        ("by=property:", "by=property"),
    ],
)
def test_choices__of_a_select_or_a_link__are_split_into_parts(query: str, asked: str) -> None:
    assert split_choices(QueryDict(query)).dict() == QueryDict(asked).dict()


@pytest.mark.parametrize(
    ("by", "name", "value"), [("trait", "a:b%", "c:d"), ("trait", "é", ""), ("persona", "", "a:b"), ("goal", "", "9")]
)
def test_choice__of_a_filter__is_read_as_it_was_written(by: str, name: str, value: str) -> None:
    query = QueryDict(mutable=True)
    query["only"] = write_only(VisitorFilter(BreakdownBy(by), value, name))

    asked = split_choices(query)

    assert (asked.get("only"), asked.get("trait", ""), asked.get("value", "")) == (by, name, value)

"""Choices of a breakdown page: the rows that it opens with, its selects, its bars and the links of its rows."""

import html
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.http import QueryDict

from api.insight import breakdowns
from api.insight.breakdowns import BreakdownBy, PartFilter
from api.models import Source
from api.pages.goals import detail
from api.pages.goals.breakdown_choices import read_only, split_choices, write_only
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


ROWS = [
    ("persona", "vip", "persona: vip", 1),
    ("segment", "Vips", "segment: Vips", 1),
    ("group", "acme", "group: acme", 1),
    ("trait:tier", "gold", "tier = gold", 1),
    ("trait:a:b", "x", "a:b = x", 1),
    ("goal", "track Other", "goal: track Other", 1),
    ("property:address.city", "Zug", "address.city = Zug", 2),
    ("property:plan", "pro", "plan = pro", 4),
    ("currency", "EUR", "currency: EUR", 1),
    ("source", "Segment destination", "source: Segment destination", 8),
]


def links_of(page: str) -> dict[str, str]:
    """Return the query string of each row of a breakdown that is a link."""
    found = re.findall(r'<a href="\?([^"]*)">([^<]*)</a></span><svg', page)
    return {html.unescape(text): html.unescape(query) for query, text in found}


@pytest.mark.parametrize("row", ROWS)
def test_breakdown__each_row__is_a_link_that_filters_breakdown_and_conversions(
    shop: Goal, enter: Enter, row: tuple[str, str, str, int]
) -> None:
    by, name, label, conversions = row
    viewer, address = enter("viewer"), page_of(shop, "breakdown/")
    links = links_of(text_of(viewer.get(f"{address}?{DAYS}&by={by}")))

    page = viewer.get(f"{address}?{links[name]}")
    listed = viewer.get(f"{page_of(shop, 'conversions/')}?{links[name]}")

    assert "(none)" not in links
    assert f"Filtered: {conversions} conversion" in text_of(page)
    assert [each.label for each in page.context["filters"]] == [label]
    assert page.context["span"].parts["from"] == "2026-11-20"
    (remove,) = re.findall(r'href="\?([^"]*)" aria-label="Remove the filter ', text_of(listed))
    assert (len(listed.context["rows"]), "only=" in remove) == (conversions, False)
    assert len(viewer.get(f"{page_of(shop, 'conversions/')}?{html.unescape(remove)}").context["rows"]) == 8


@pytest.mark.parametrize(("one", "other"), [(0, 3), (1, 7), (6, 7), (6, 9), (7, 8), (5, 9)])
def test_filters__two_at_once__keep_what_is_in_both(shop: Goal, enter: Enter, one: int, other: int) -> None:
    viewer, address = enter("viewer"), page_of(shop, "breakdown/")
    conversions = []
    for order in ([one, other], [other, one]):
        query, rows = DAYS, set[int]()
        for place in order:
            by, name, *_ = ROWS[place]
            links = links_of(text_of(viewer.get(f"{address}?{query}&by={by}")))
            query = links.get(name, "")
            if not query:
                break  # none of the first is in the second
        if query:
            rows = {row.conversion.pk for row in viewer.get(f"{page_of(shop, 'conversions/')}?{query}").context["rows"]}
        conversions.append(rows)
    alone = []
    for by, name, *_ in (ROWS[one], ROWS[other]):
        query = links_of(text_of(viewer.get(f"{address}?{DAYS}&by={by}")))[name]
        page = viewer.get(f"{page_of(shop, 'conversions/')}?{query}")
        alone.append({row.conversion.pk for row in page.context["rows"]})

    assert conversions == [alone[0] & alone[1]] * 2


def test_breakdown__with_a_filter__offers_to_take_it_off_or_to_show_everyone(shop: Goal, enter: Enter) -> None:
    viewer, address = enter("viewer"), page_of(shop, "breakdown/")
    page = text_of(viewer.get(f"{address}?{DAYS}&by=currency&only=persona:vip&only=property:plan:pro"))

    first, second = re.findall(r'href="\?([^"]*)" aria-label="Remove the filter (.*?)"', page)
    (link,) = re.findall(r'href="\?([^"]*)">Show everyone', page)
    everyone: Any = viewer.get(f"{address}?{html.unescape(link)}")

    assert (first[1], second[1]) == ("persona: vip", "plan = pro")
    assert QueryDict(html.unescape(first[0])).getlist("only") == ["property:plan:pro"]
    assert not everyone.context["filters"]
    assert everyone.context["by"] == "currency"
    assert options_of(page, "only") == {"Segments": ["segment:Vips"], "Groups": ["group:acme"]}  # vip is a filter


def test_conversions__with_filters__go_on_with_older_ones(
    shop: Goal, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detail, "PAGE_CONVERSIONS", 4)
    viewer, address = enter("viewer"), page_of(shop, "conversions/")
    source = Source.objects.get(name="Segment destination")
    shown, query = list[str](), f"{DAYS}&only=property:shop:zrh&only=source:{source.pk}"
    for rows in (4, 2):
        page = viewer.get(f"{address}?{query}")
        shown += [row.conversion.visitor_code for row in page.context["rows"]]
        assert len(page.context["rows"]) == rows
        query = html.unescape("".join(re.findall(r'href="\?([^"]*)">Older conversions', text_of(page))))

    assert shown == ["v5", "v4", "v3", "v2", "v1", "v0"]


def test_conversions__with_a_filter_of_too_many__are_the_most_recent(
    shop: Goal, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakdowns, "NEWEST_CONVERSIONS", 3)
    viewer, address = enter("viewer"), page_of(shop, "conversions/")
    newest = {row.conversion.pk for row in viewer.get(f"{address}?{DAYS}").context["rows"][:3]}

    page = viewer.get(f"{address}?{DAYS}&only=source:{Source.objects.get(name='Segment destination').pk}")

    assert {row.conversion.pk for row in page.context["rows"]} == newest
    assert "Too much data: showing the most recent conversions since" in text_of(page)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("only=trait&value=x", "Enter the value to filter by"),
        ("only=persona", "Enter the value to filter by"),
        ("only=rain:x", "There is no filter"),
        ("only=source:99", "This site has no source"),
        ("only=source:x", "This site has no source"),
        ("only=goal:nothing", "No other goal has the ID or name"),
        ("only=persona:nothing", "This site has no persona"),
        ("only=property:%2500:x", "\ufffd = x"),
        ("only=trait:%2500:x", "None of these visitors has a trait"),
        ("only=property:plan:pro&only=persona:nothing", "This site has no persona"),
    ],
)
def test_filter__that_cannot_be__is_named_on_both_tabs(shop: Goal, enter: Enter, query: str, says: str) -> None:
    for tab in ("breakdown/", "conversions/"):
        assert says in text_of(enter("viewer").get(f"{page_of(shop, tab)}?{DAYS}&{query}"))


def test_filter__of_a_source_with_leading_zeros__finds_its_conversions(shop: Goal, enter: Enter) -> None:
    source = Source.objects.get(name="Segment destination")

    page = enter("viewer").get(f"{page_of(shop, 'breakdown/')}?{DAYS}&by=currency&only=source:00{source.pk}")

    assert "Filtered: 8 conversions" in text_of(page)


@pytest.mark.parametrize("by", ["property:plan", "currency", "source"])
def test_rates__over_all_visitors__are_of_rows_of_all_visitors_only(shop: Goal, enter: Enter, by: str) -> None:
    viewer, address = enter("viewer"), page_of(shop, "breakdown/")

    assert ">Rate</th>" in text_of(viewer.get(f"{address}?{DAYS}&by={by}"))
    for people in ("persona", "segment", "group", "trait:tier", "goal"):
        assert ">Rate</th>" not in text_of(viewer.get(f"{address}?{DAYS}&by={people}"))
    assert ">Rate</th>" not in text_of(viewer.get(f"{address}?{DAYS}&by={by}&only=persona:vip"))


def test_tabs__of_a_goal_with_a_filter__keep_it_and_say_where_it_holds(shop: Goal, enter: Enter) -> None:
    viewer = enter("viewer")
    query = "range=7d&compare=none&by=currency&only=persona%3Avip"

    for tab in ("", "breakdown/", "conversions/"):
        page = text_of(viewer.get(f"{page_of(shop, tab)}?{query}"))
        for other in ("", "breakdown/", "conversions/"):
            assert f'href="{page_of(shop, other)}?{query.replace("&", "&amp;")}"' in page
        assert ("This page counts everyone." in page) == (tab == "")


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("by=property:a:b", "by=property&path=a%3Ab"),
        ("by=trait:plan&path=old", "by=trait&path=plan"),
        ("by=currency&path=old", "by=currency"),
        ("path=plan", "path=plan"),
        ("by=trait&path=plan&only=persona&value=vip", "by=trait&path=plan&only=persona:vip"),
        ("only=persona:a:b&trait=x", "only=persona:a:b"),
        ("only=trait&trait=x&value=y&only=persona:vip", "only=trait:x:y&only=persona:vip"),
        ("only=persona:vip&only=persona:vip", "only=persona:vip"),
        ("only=&trait=x&value=y&range=7d", "range=7d"),
        ("only=trait&value=y", "only=trait"),
        ("by=property:", "by=property"),
        (
            "&".join(f"only=persona:{each}" for each in range(7)),
            "&".join(f"only=persona:{each}" for each in range(2, 7)),
        ),
    ],
)
def test_choices__of_a_select_or_a_link__are_said_in_one_way(query: str, asked: str) -> None:
    assert dict(split_choices(QueryDict(query)).lists()) == dict(QueryDict(asked).lists())


@pytest.mark.parametrize(
    ("by", "name", "value"),
    [
        ("trait", "a:b%", "c:d"),
        ("trait", "é", ""),
        ("persona", "", "a:b"),
        ("goal", "", "9"),
        ("property", "a.b:c", "x"),
    ],
)
def test_choice__of_a_filter__is_read_as_it_was_written(by: str, name: str, value: str) -> None:
    only = PartFilter(BreakdownBy(by), value, name)

    (text,) = split_choices(QueryDict(urlencode({"only": write_only(only)}))).getlist("only")

    assert read_only(text) == only

"""The list of goals: filters, orders, figures, and its export."""

import csv
import html
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.pages.csv_cells import as_text
from api.pages.goals.list_query import SEEN, SORTS
from goals import catalogue, merging
from goals.models import Conversion, Goal
from tests.support.goal_pages import BASE, NAME, SHOWN, make, names_in
from tests.support.pages import Enter, text_of
from tests.world import World


@pytest.mark.promise("K-09")
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", [SHOWN, "Shop", "Bare"]),
        ("?sort=name", ["Bare", SHOWN, "Shop"]),
        ("?tag=segment.io", [SHOWN]),
        ("?tag=shop&tag=a%2C%20b&sort=name", ["Bare", "Shop"]),
        ("?tag=shop&tag=a%2C%20b&match=all", ["Shop"]),
        ("?tag=nothing", []),
        ("?made=events", [SHOWN]),
        ("?made=hand&sort=-name", ["Shop", "Bare"]),
        ("?q=BUY", [SHOWN]),
        ("?sort=-lastConversion", [SHOWN, "Shop", "Bare"]),
        ("?status=archived", ["Old"]),
        ("?status=all&sort=name", ["Bare", SHOWN, "Old", "Shop"]),
        ("?type=CUSTOM&made=events", [SHOWN]),
        ("?type=CLICK", []),
        ("?seen=never&sort=name", ["Bare", "Shop"]),
        ("?sort=x&status=x&made=x&tag=&seen=x&type=x&after=x&id=x", [SHOWN, "Shop", "Bare"]),
        ("?sort=-conversions&after=x&id=1", [SHOWN, "Shop", "Bare"]),
        ("?sort=-conversions&after=1", [SHOWN, "Shop", "Bare"]),
        ("?sort=-conversions&after=2&id=999999999999", [SHOWN, "Shop", "Bare"]),
        ("?sort=-revenue&after=1E999999&id=1", [SHOWN, "Shop", "Bare"]),
        ("?sort=-revenue&after=NaN&id=1", [SHOWN, "Shop", "Bare"]),
        ("?sort=-revenue.EUR%00", [SHOWN, "Shop", "Bare"]),
        ("?sort=created&after=2026-11-22&id=1", [SHOWN, "Bare", "Shop"]),
        ("?sort=name&after=%00&id=1", []),
        ("?q=%00", []),
    ],
)
def test_list__filtered__shows_only_those(world: World, goal: Goal, enter: Enter, query: str, names: list[str]) -> None:
    make(world, "Bare", "a, b")
    make(world, "Shop", "shop", "a, b")
    catalogue.archive_goal(make(world, "Old"), now=timezone.now())

    page = text_of(enter("viewer").get(f"{BASE}{query or '?'}&range=custom&from=2026-11-20&to=2026-11-22"))

    assert names_in(page) == names


def test_list__of_goals__shows_their_figures(world: World, goal: Goal, enter: Enter) -> None:
    Conversion.objects.update(occurred_at=timezone.now())

    page = text_of(enter("viewer").get(BASE))

    assert "EUR 1,234.50" in page
    page = text_of(enter("viewer").get(f"{BASE}?col=trend"))
    assert re.search(r'aria-label="\d+ in 30 days, \d+ on the best day, \d+ today"><polyline points="0.0,', page)
    assert "Apply …" not in page  # a viewer changes nothing
    assert "Apply …" in text_of(enter("editor").get(BASE))


def test_list__without_goals__says_how_to_get_one(world: World, enter: Enter) -> None:
    page = text_of(enter("viewer").get(BASE))

    assert "A goal is created automatically by a track event, tagged segment.io" in page
    assert f"{BASE}new/" not in page


@pytest.mark.parametrize("sort", [f"{sign}{key}" for key in SORTS for sign in ("", "-")])
def test_list__of_more_than_a_page__goes_on_in_its_order(
    world: World, goal: Goal, enter: Enter, sort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Conversion.objects.update(occurred_at=timezone.now())
    call_command("recount", stdout=io.StringIO())
    for number in range(4):
        make(world, f"Goal {number}", "segment.io")
    whole = names_in(text_of(enter("viewer").get(f"{BASE}?tag=segment.io&sort={sort}")))
    monkeypatch.setattr("api.pages.goals.goal_list.PER_PAGE", 1)
    shown, address = list[str](), f"?tag=segment.io&sort={sort}"
    for _ in range(5):
        page = text_of(enter("viewer").get(BASE + address))
        assert "5 goals" in page
        shown += names_in(page)
        (address, *_) = [*map(html.unescape, re.findall(r'href="([^"]*)">Next page<', page)), ""]

    assert address == ""
    assert (shown, len(whole)) == (whole, 5)
    if sort.endswith(("revenue", "lastConversion")):
        assert whole[0] == SHOWN  # a goal without any comes last in both directions
    elif sort.startswith("-c") and sort != "-created":
        assert whole[0] == SHOWN


@pytest.mark.parametrize(
    ("days", "wishes"),
    [
        (0.5, {"1", "7", "30", ""}),
        (3, {"7", "30", ""}),
        (29, {"30", ""}),
        (31, {"not-30", ""}),
        (None, {"not-30", "never", ""}),
    ],
)
def test_list__by_the_last_conversion__shows_what_converted_then(
    world: World, goal: Goal, enter: Enter, days: float | None, wishes: set[str]
) -> None:
    if days is None:
        Conversion.objects.all().delete()
    Conversion.objects.update(occurred_at=timezone.now() - timedelta(days=days or 0))

    assert {wish for wish, _ in SEEN if names_in(text_of(enter("viewer").get(f"{BASE}?seen={wish}")))} == wishes


def test_list__in_an_order__says_so_in_the_heads(world: World, goal: Goal, enter: Enter) -> None:
    page = text_of(enter("viewer").get(f"{BASE}?tag=segment.io&sort=-periodRevenue&after=9999&id=1"))

    assert page.count("aria-sort=") == 1
    assert re.search(
        r'aria-sort="descending"><a class="gp-sort" href="\?tag=segment.io&amp;sort=periodRevenue.EUR">Revenue', page
    )
    assert 'href="?tag=segment.io&amp;sort=-period"' in page
    assert 'href="?tag=segment.io&amp;sort=name"' in page


@pytest.mark.parametrize(
    "path",
    [
        "",
        "?tag=many",
        "tags/",
        "merge/?goal={goal}",
        "{goal}/",
        "{goal}/breakdown/?by=source",
        "{goal}/breakdown/?by=trait&path=plan",
        "{goal}/breakdown/?by=goal",
        "{goal}/conversions/",
        "{goal}/edit/",
        "{goal}/delete/",
    ],
)
def test_pages__of_many_goals__cost_few_queries(world: World, goal: Goal, enter: Enter, path: str) -> None:
    for number in range(60):
        make(world, f"SegmentIO track – Viewed order {1000 + number}", "many", f"tag {number}")
    merging.merge(Goal.objects.get(name__endswith="1059"), goal)
    Goal.objects.filter(pk=goal.pk).update(name="SegmentIO track – Viewed order 999")
    address, editor = BASE + path.format(goal=goal.pk), enter("editor")
    editor.get(address)  # the session learns the site

    with CaptureQueriesContext(connection) as queries:
        text_of(editor.get(address))

    assert len(queries) <= 18, "\n".join(each["sql"][:200] for each in queries)


def lines_of(response: Any) -> list[list[str]]:
    """Return the cells of a file, read by its byte order mark as spreadsheets do."""
    assert (response.status_code, response.streaming) == (200, True)
    file = b"".join(response.streaming_content)
    assert file.startswith(b"\xef\xbb\xbfid,name,")
    return list(csv.reader(io.StringIO(file.decode("utf-8-sig"), newline="")))


def test_export__of_a_list_or_of_those_picked__is_csv_that_runs_nothing(world: World, goal: Goal, enter: Enter) -> None:
    evil = make(world, '=cmd|"x"', "shop")
    world.track("Buy", at=2, userId="u3", properties={"revenue": "-8.000001", "currency": "USD"})

    lines = lines_of(enter("viewer").get(f"{BASE}export/?tag=segment.io&from=2026-11-22&to=2026-11-22"))
    picked = lines_of(
        enter("viewer").post(f"{BASE}export/", {"goal": [evil.pk], "query": "from=2026-11-22&to=2026-11-22"})
    )

    assert [dict(zip(lines[0], line, strict=True)) for line in lines[1:]] == [
        {
            "id": str(goal.pk),
            "name": NAME,
            "display name": "",
            "status": "active",
            "made by": "event",
            "tags": "segment.io",
            "conversions, 24 h": lines[1][6],
            "conversions, 30 days": lines[1][7],
            "conversions, all": "3",
            "converting visits, 24 h": lines[1][9],
            "converting visits, 30 days": lines[1][10],
            "converting visits, all": "3",
            "converting visitors": "3",
            "cancelled conversions": "0",
            "revenue EUR": "1234.5",
            "revenue USD": "-8.000001",
            "last conversion": "2026-11-22T03:00:02Z",
            **dict(zip(lines[0][17:], ["3", "3", "1234.5", "-8.000001", "3", "1.000000"], strict=True)),
        }
    ]
    assert [line[1] for line in picked[1:]] == ['\'=cmd|"x"']
    assert (picked[0], picked[1][13:]) == (lines[0], ["0", "", "", "", "0", "0", "", "", "3", "0.000000"])
    days = "2026-11-22 to 2026-11-22"
    assert lines[0][17] == f"conversions, {days}"
    assert lines[0][18:21] == [f"converting visitors, {days}", f"revenue EUR, {days}", f"revenue USD, {days}"]
    assert lines[0][21:] == [f"visitors seen, {days}", f"conversion rate, {days}"]


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        *((name, f"'{name}") for name in ("=1+1", "+1", "-1", "@x", " =1+1", "\tx", "\nx", "＝1+1", '"=1"')),
        ("\t=1", "'\t'=1"),
        # As a spreadsheet reads it that separates by semicolons.
        ("Buy;=HYPERLINK(1)", "Buy;'=HYPERLINK(1)"),
        ('Buy;"=1"', 'Buy;\'"=1"'),
        ("Buy\n=1", "Buy\n'=1"),
        ("Buy-1; sell", "Buy-1; sell"),
    ],
)
def test_export__of_a_name_like_a_formula__has_it_as_text(world: World, enter: Enter, name: str, cell: str) -> None:
    make(world, name, name[:100])

    _, line = lines_of(enter("viewer").get(f"{BASE}export/"))

    assert (line[1], line[5]) == (cell, as_text(name.strip()))  # a tag is kept without white space around it


def test_export__of_a_list__keeps_its_order(world: World, goal: Goal, enter: Enter) -> None:
    make(world, "Bare")

    lines = lines_of(enter("viewer").get(f"{BASE}export/?sort=-conversions"))

    assert [line[1] for line in lines[1:]] == [NAME, "Bare"]


@pytest.mark.parametrize(("first", "names"), [("22", ["Buy", "Sell"]), ("15", ["Sell", "Buy"])])
def test_export__of_a_range__begins_with_most_conversions_of_it(
    world: World, goal: Goal, enter: Enter, first: str, names: list[str]
) -> None:
    for number in range(5):
        world.track("Sell", at=(number - 5) * 86_400, userId="u1")

    lines = lines_of(enter("viewer").get(f"{BASE}export/?range=custom&from=2026-11-{first}&to=2026-11-22"))

    assert [line[1] for line in lines[1:]] == [f"SegmentIO track – {name}" for name in names]


def test_export__of_all_that_match__has_more_than_those_picked(world: World, goal: Goal, enter: Enter) -> None:
    for name in ("Bare", "Bald"):
        make(world, name)

    form = {"goal": [goal.pk], "scope": "all", "query": "q=ba&sort=name"}
    lines = lines_of(enter("viewer").post(f"{BASE}export/", form))

    assert [line[1] for line in lines[1:]] == ["Bald", "Bare"]


def test_export__of_many_goals__is_sent_in_parts_that_cost_the_same(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        make(world, f"Goal {number}")
    monkeypatch.setattr("api.pages.goals.export.CHUNK", 4)
    parts = iter(enter("viewer").get(f"{BASE}export/").streaming_content)  # type: ignore[attr-defined]

    sizes, costs = [next(parts).count(b"\r\n")], []
    for _ in range(3):
        with CaptureQueriesContext(connection) as queries:
            sizes.append(next(parts).count(b"\r\n"))
        costs.append(len(queries))

    assert (sizes, next(parts, None)) == ([1, 4, 4, 4], None)
    assert len(set(costs)) == 1

"""The rows of the goal list: its range, columns, picks, tags and money."""

import html
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.models import Site
from goals import catalogue
from goals.models import Goal
from goals.naming import TEMPLATE
from tests.support.goal_pages import BASE, make, names_in
from tests.support.pages import Enter, text_of
from tests.support.sdk import conversion, send_lines
from tests.world import World

DAY = 86_400
RANGE = "range=custom&from=2026-11-22&to=2026-11-22"


def cells_of(page: str, name: str) -> list[str]:
    """Return the texts of a goal's cells after its name."""
    (row,) = [row for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL) if f">{name}</bdi>" in row]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)[2:]
    return [html.unescape(" ".join(re.sub(r"<[^>]*>", " ", cell).split())) for cell in cells]


def heads_of(page: str) -> list[str]:
    """Return the heads of the columns after the names."""
    heads = re.findall(r"<th [^>]*>(.*?)</th>", page, re.DOTALL)[2:]
    return [" ".join(re.sub(r"<[^>]*>", " ", head).split()) for head in heads]


def test_list__of_a_range__shows_its_figures_beside_those_before(world: World, goal: Goal, enter: Enter) -> None:
    for number in range(6):  # a week before
        world.track("Buy", at=number - 7 * DAY, userId=f"u{number}")
    world.track("Buy", at=2, userId="u1", properties={"revenue": "3", "currency": "USD"})

    page = text_of(enter("viewer").get(f"{BASE}?{RANGE}"))

    assert heads_of(page) == ["Conversions ↓", "Change", "Visitors", "Rate", "Revenue", "Last conversion"]
    figures = cells_of(page, "Buy")
    assert figures[:4] == ["3", "▼ 50 %", "2", "100 %"]
    assert figures[4] == "USD 3.00 +1 EUR 1,234.50"  # the site's currency, the other one on hover
    assert 'aria-label="down 50 %"' in page


def test_list__of_more_conversions_than_are_read__counts_visitors_of_the_smallest_goals(
    world: World, goal: Goal, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.track("Sell", at=3, userId="u1")
    world.track("Old", at=-9 * DAY, userId="u1")
    for module in ("goal_list", "export"):
        monkeypatch.setattr(f"api.pages.goals.{module}.MOST_READ", 2)
    viewer = enter("viewer")

    page = text_of(viewer.get(f"{BASE}?{RANGE}"))
    file = b"".join(viewer.get(f"{BASE}export/?{RANGE}&sort=name")).decode()
    running = text_of(viewer.get(f"{BASE}?from=2026-11-01"))

    assert [cells_of(page, name)[2] for name in ("Buy", "Sell", "Old")] == ["–", "1", "0"]
    assert [row.split(",")[-4] for row in file.split("\r\n")[1:-1]] == ["", "0", "1"]
    assert [cells_of(running, name)[2] for name in ("Buy", "Sell", "Old")] == ["2", "1", "1"]


def test_list__without_the_column_of_visitors__counts_none(goal: Goal, enter: Enter) -> None:
    viewer = enter("viewer")
    viewer.get(f"{BASE}?{RANGE}&compare=none")  # the session learns the site and the range

    counts = []
    for column in ("last", "visitors"):
        with CaptureQueriesContext(connection) as queries:
            viewer.get(f"{BASE}?{RANGE}&compare=none&col={column}")
        counts.append(len(queries))

    assert counts[0] == counts[1] - 1


def test_list__without_comparison__has_no_change(goal: Goal, enter: Enter) -> None:
    assert cells_of(text_of(enter("viewer").get(f"{BASE}?{RANGE}&compare=none")), "Buy")[1] == "–"


def test_list__of_a_range__begins_with_most_conversions_of_it(world: World, goal: Goal, enter: Enter) -> None:
    for number in range(5):
        world.track("Sell", at=number - 3 * DAY, userId="u1")
    world.track("Sell", at=3, userId="u1")

    viewer = enter("viewer")

    assert names_in(text_of(viewer.get(f"{BASE}?{RANGE}"))) == ["track Buy", "track Sell"]
    assert names_in(text_of(viewer.get(f"{BASE}?range=custom&from=2026-11-15&to=2026-11-22"))) == [
        "track Sell",
        "track Buy",
    ]


def test_list__by_revenue_of_24_hours__ranks_what_these_hours_brought(world: World, enter: Enter) -> None:
    now = timezone.now()
    before = now.replace(minute=0, second=0, microsecond=0) - timedelta(
        hours=23, minutes=30
    )  # on the first of two days
    for name, amount, at in (("Early", 100, before), ("Early", 1, now), ("Buy", 10, now), ("Sell", 8, now)):
        world.track(name, timestamp=at.isoformat(), userId="u1", properties={"revenue": amount, "currency": "USD"})
    send_lines(world, conversion(Goal.objects.get(name__endswith="Buy").pk, revenue=4, negative=True))

    page = text_of(enter("viewer").get(f"{BASE}?range=24h&sort=-periodRevenue.USD"))

    assert [cells_of(page, name)[4] for name in ("Sell", "Buy", "Early")] == ["USD 8.00", "USD 6.00", "USD 1.00"]
    assert names_in(page) == ["track Sell", "track Buy", "track Early"]


@pytest.mark.parametrize(
    ("columns", "heads"),
    [
        (["visitors"], ["Conversions ↓", "Visitors"]),
        (["ever", "made", "x"], ["Conversions ↓", "All time", "Created by"]),
        (["x"], ["Conversions ↓", "Change", "Visitors", "Rate", "Revenue", "Last conversion"]),
    ],
)
def test_list__with_chosen_columns__has_those(goal: Goal, enter: Enter, columns: list[str], heads: list[str]) -> None:
    page = text_of(enter("viewer").get(BASE, {"col": columns}))

    assert heads_of(page) == heads
    assert f'href="?col={columns[0]}&amp;' in page  # the heads keep them


def test_list__of_htmx__keeps_a_short_address(goal: Goal, enter: Enter) -> None:
    query = "q=buy&status=active&made=&sort=-period&col=change&col=visitors&col=rate&col=revenue&col=last"
    response = enter("viewer").get(f"{BASE}?{query}", headers={"HX-Request": "true"})

    assert response["HX-Replace-Url"] == "?q=buy"


@pytest.mark.parametrize(
    ("query", "tags"), [("", {"vip"}), ("?tag=vip", {"vip", "segment.io"}), ("?tag=segment.io", {"vip", "segment.io"})]
)
def test_list__of_goals_with_the_automatic_tag__shows_it_only_if_filtered_by_a_tag(
    world: World, goal: Goal, enter: Enter, query: str, tags: set[str]
) -> None:
    catalogue.change_goal(goal, fields=[], tags=["vip", "segment.io"], template=TEMPLATE)

    page = text_of(enter("viewer").get(BASE + query))

    assert set(re.findall(r'<a class="gp-badge" href="[^"]*">([^<]*)</a>', page)) == tags


@pytest.mark.parametrize("is_other", [True, False])
def test_list__of_one_type__has_no_filter_for_it(world: World, goal: Goal, enter: Enter, is_other: bool) -> None:  # noqa: FBT001
    if is_other:
        Goal.objects.filter(pk=make(world, "Bare").pk).update(type="CLICK")

    assert ('name="type"' in text_of(enter("viewer").get(BASE))) == is_other


def test_change__asked_for_with_a_mistake__keeps_what_was_picked(world: World, goal: Goal, enter: Enter) -> None:
    other = make(world, "Bare")
    form = {"goal": [goal.pk], "action": "tag", "tag_name": "", "query": "sort=name"}

    page = text_of(enter("editor").post(f"{BASE}change/", form, follow=True))

    assert "Enter a tag (1–100 characters)." in page
    assert re.search(rf'value="{goal.pk}" aria-label="[^"]*" checked>', page)
    assert not re.search(rf'value="{other.pk}" aria-label="[^"]*" checked>', page)
    assert '<option value="tag" selected>' in page
    assert "pick=" not in "".join(re.findall(r'href="([^"]*)"', page))


def test_list__of_a_site_that_has_everything__costs_twelve_queries(world: World, goal: Goal, enter: Enter) -> None:
    for number in range(60):
        make(world, f"Goal {number}", "many", f"tag {number}")
    Site.objects.update(default_currency="EUR")
    viewer = enter("viewer")
    viewer.get(BASE)  # the session learns the site

    with CaptureQueriesContext(connection) as queries:
        text_of(viewer.get(f"{BASE}?tag=many&col=change&col=visitors&col=revenue&col=last"))

    assert len(queries) <= 12, "\n".join(each["sql"][:200] for each in queries)

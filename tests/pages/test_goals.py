"""The pages of goals: found by tag, looked at, edited with warnings, deleted after a question."""

import csv
import html
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.http import HttpResponseBase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.models import AuditEntry, Rule
from api.pages.goals.export import as_text
from api.pages.goals.list_query import SEEN, SORTS
from goals import catalogue, merging
from goals.matching import EventName
from goals.models import Conversion, Goal, GoalBinding, GoalCreation
from goals.naming import TEMPLATE
from tests.pages.ada import ENTERED
from tests.pages.conftest import Enter, text_of
from tests.world import SITECODE, World

BASE = f"/admin/s/{SITECODE}/goals/"
NAME = "SegmentIO track – Buy"


@pytest.fixture
def goal(world: World) -> Goal:
    """Two conversions of two visitors, one with revenue."""
    world.track("Buy", userId="u1", properties={"revenue": "1234.5", "currency": "EUR", "plan": "pro"})
    world.track("Buy", at=1, userId="u2", properties={"plan": "<b>free</b>"})
    return Goal.objects.get()


def page_of(goal: Goal, rest: str = "") -> str:
    return f"{BASE}{goal.pk}/{rest}"


def names_in(page: str) -> list[str]:
    """The goals that a list shows."""
    return [html.unescape(each) for each in re.findall(r'aria-label="Select (.*?)"', page)]


def make(world: World, name: str, *tags: str) -> Goal:
    return catalogue.create_goal(Goal(site=world.site, name=name), tags=tags, template=TEMPLATE)


def edit(enter: Enter, goal: Goal, **changes: Any) -> HttpResponseBase:
    """Open the form as an editor, change fields, save."""
    form = enter("editor").get(page_of(goal, "edit/")).context["form"]
    sent = {field.name: field.value() for field in form if field.value() not in (None, False)}
    return enter("editor").post(page_of(goal, "edit/"), {**sent, **changes})


# The list


@pytest.mark.promise("K-09")
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["Bare", NAME, "Shop"]),
        ("?tag=segment.io", [NAME]),
        ("?tag=shop&tag=a%2C%20b", ["Bare", "Shop"]),
        ("?tag=shop&tag=a%2C%20b&match=all", ["Shop"]),
        ("?tag=nothing", []),
        ("?made=events", [NAME]),
        ("?made=hand&sort=-name", ["Shop", "Bare"]),
        ("?q=BUY", [NAME]),
        ("?sort=-lastConversion", [NAME, "Shop", "Bare"]),
        ("?status=archived", ["Old"]),
        ("?status=all", ["Bare", "Old", NAME, "Shop"]),
        ("?type=CUSTOM&made=events", [NAME]),
        ("?type=CLICK", []),
        ("?seen=never", ["Bare", "Shop"]),
        ("?sort=x&status=x&made=x&tag=&seen=x&type=x&after=x&id=x", ["Bare", NAME, "Shop"]),
        ("?sort=-conversions&after=x&id=1", [NAME, "Shop", "Bare"]),
        ("?sort=-conversions&after=1", [NAME, "Shop", "Bare"]),
        ("?sort=-conversions&after=2&id=999999999999", [NAME, "Shop", "Bare"]),
        ("?sort=-revenue&after=1E999999&id=1", [NAME, "Shop", "Bare"]),
        ("?sort=-revenue&after=NaN&id=1", [NAME, "Shop", "Bare"]),
        ("?sort=-revenue.EUR%00", [NAME, "Shop", "Bare"]),
        ("?sort=created&after=2026-11-22&id=1", [NAME, "Bare", "Shop"]),
        ("?after=%00&id=1", []),
        ("?q=%00", []),
    ],
)
def test_list__filtered__shows_only_those(world: World, goal: Goal, enter: Enter, query: str, names: list[str]) -> None:
    make(world, "Bare", "a, b")
    make(world, "Shop", "shop", "a, b")
    catalogue.archive_goal(make(world, "Old"), now=timezone.now())

    assert names_in(text_of(enter("viewer").get(BASE + query))) == names


def test_list__of_goals__shows_their_figures(world: World, goal: Goal, enter: Enter) -> None:
    Conversion.objects.update(occurred_at=timezone.now())

    page = text_of(enter("viewer").get(BASE))

    assert "EUR 1,234.50" in page
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
    monkeypatch.setattr("api.pages.goals.goal_list.PER_PAGE", 2)
    shown, address = list[str](), f"?tag=segment.io&sort={sort}"
    for _ in range(3):
        page = text_of(enter("viewer").get(BASE + address))
        assert "5 goals" in page
        shown += names_in(page)
        (address, *_) = [*map(html.unescape, re.findall(r'href="([^"]*)">Next page<', page)), ""]

    assert address == ""
    assert (shown, len(whole)) == (whole, 5)
    if sort.endswith(("revenue", "lastConversion")):
        assert whole[0] == NAME  # what has none comes last, either way
    elif sort.startswith("-c") and sort != "-created":
        assert whole[0] == NAME


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
    page = text_of(enter("viewer").get(f"{BASE}?tag=segment.io&sort=-revenue&after=9999&id=1"))

    assert page.count("aria-sort=") == 1
    assert re.search(
        r'aria-sort="descending">Revenue <a class="gp-sort" href="\?tag=segment.io&amp;sort=revenue.EUR">', page
    )
    assert 'href="?tag=segment.io&amp;sort=-conversions30d"' in page
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

    assert len(queries) <= 16, "\n".join(each["sql"][:200] for each in queries)


# As a file


def lines_of(response: Any) -> list[list[str]]:
    """The cells of a file, read as spreadsheets do: by its byte order mark."""
    assert (response.status_code, response.streaming) == (200, True)
    file = b"".join(response.streaming_content)
    assert file.startswith(b"\xef\xbb\xbfid,name,")
    return list(csv.reader(io.StringIO(file.decode("utf-8-sig"), newline="")))


def test_export__of_a_list_or_of_those_picked__is_csv_that_runs_nothing(world: World, goal: Goal, enter: Enter) -> None:
    evil = make(world, '=cmd|"x"', "shop")
    world.track("Buy", at=2, userId="u3", properties={"revenue": "-8.000001", "currency": "USD"})

    lines = lines_of(enter("viewer").get(f"{BASE}export/?tag=segment.io"))
    picked = lines_of(enter("viewer").post(f"{BASE}export/", {"goal": [evil.pk]}))

    assert [dict(zip(lines[0], line, strict=True)) for line in lines[1:]] == [
        {
            "id": str(goal.pk),
            "name": NAME,
            "status": "active",
            "made by": "event",
            "tags": "segment.io",
            "conversions, 24 h": lines[1][5],
            "conversions, 30 days": lines[1][6],
            "conversions, all": "3",
            "converting visits, 24 h": lines[1][8],
            "converting visits, 30 days": lines[1][9],
            "converting visits, all": "3",
            "converting visitors": "3",
            "revenue EUR": "1234.5",
            "revenue USD": "-8.000001",
            "last conversion": "2026-11-22T03:00:02Z",
        }
    ]
    assert [line[1] for line in picked[1:]] == ['\'=cmd|"x"']
    assert (picked[0], picked[1][12:]) == (lines[0], ["", "", ""])


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

    assert (line[1], line[4]) == (cell, as_text(name.strip()))  # a tag is kept without white space around it


def test_export__of_a_list__keeps_its_order(world: World, goal: Goal, enter: Enter) -> None:
    make(world, "Bare")

    lines = lines_of(enter("viewer").get(f"{BASE}export/?sort=-conversions"))

    assert [line[1] for line in lines[1:]] == [NAME, "Bare"]


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


# The page of a goal


@pytest.mark.promise("K-21")
def test_goal__made_by_an_event__says_what_converts_it_and_when_last(world: World, goal: Goal, enter: Enter) -> None:
    catalogue.bind_event(goal, EventName("page", "Thank <you>"), template=TEMPLATE)

    page = text_of(enter("viewer").get(page_of(goal)))

    assert "Counts these events (no code needed)" in page
    assert '<span class="gp-badge">track</span> <code>Buy</code>' in page
    assert '<span class="gp-badge">page</span> <code>Thank &lt;you&gt;</code>' in page
    assert "Last event: 2026-11-22 03:00:01 UTC" in page
    assert "Unlink" not in page


@pytest.mark.promise("K-21")
def test_goal__made_by_hand__says_which_events_would_convert_it(world: World, enter: Enter) -> None:
    page = text_of(enter("viewer").get(page_of(make(world, "Purchase"))))

    assert page.count("<code>Purchase</code>") == 3  # track, page, screen
    assert "No events yet" in page


def test_goal__with_conversions__shows_their_curve(world: World, goal: Goal, enter: Enter) -> None:
    page = text_of(enter("viewer").get(f"{page_of(goal)}?from=2026-11-20&to=2026-11-22&step=hour"))

    assert "EUR 1,234.50" in page
    assert "<td>2026-11-22 03:00</td>" in page  # the chart's table
    assert page.count("<td>2026-11-2") == 2 * 72  # conversions and revenue by hour


@pytest.mark.parametrize("tab", ["", "breakdown/"])
@pytest.mark.parametrize(
    ("query", "says", "is_drawn"),
    [
        ("from=2026-11-29&to=2026-11-26", "From (2026-11-29) is after To (2026-11-26)", False),
        ("from=2126-11-29", "From (2126-11-29) is in the future", False),
        ("from=2026-11-20&to=2126-11-26", "To (2126-11-26) is in the future. Showing days up to today", True),
        ("from=2026-13-40", "From (“2026-13-40”) is not a date", False),
        ("to=tomorrow", "To (“tomorrow”) is not a date", False),
        ("from=0001-01-01&to=9999-12-31", "From (“0001-01-01”) and To (“9999-12-31”) are not dates", False),
    ],
)
def test_goal__of_a_span_that_cannot_be__says_so_and_swaps_nothing(
    world: World, goal: Goal, enter: Enter, *, tab: str, query: str, says: str, is_drawn: bool
) -> None:
    page = text_of(enter("viewer").get(f"{page_of(goal)}{tab}?by=source&{query}"))

    assert says in page
    assert ("<table" in page) == is_drawn


@pytest.mark.parametrize("step", ["hour", "day", "week"])
def test_goal__today__has_no_figures_of_the_hours_to_come(world: World, goal: Goal, enter: Enter, step: str) -> None:
    now = timezone.now()

    page: Any = enter("viewer").get(f"{page_of(goal)}?from={now:%Y-%m-%d}&to={now:%Y-%m-%d}&step={step}")

    drawn = page.context["chart"].labels
    assert len(drawn) == (now.hour + 1 if step == "hour" else 1)


@pytest.mark.promise("K-87")
@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("by=property&path=plan", ["&lt;b&gt;free&lt;/b&gt;", "pro"]),
        ("by=property&path=plan.deeper", None),
        ("by=currency", ["(none)", "EUR"]),
        ("by=source", ["Segment destination"]),
        ("by=trait&path=plan", ["(none)", "now"]),
        ("by=group", ["(none)", "acme"]),
        ("by=persona", ["(none)", "vip"]),
        ("by=goal", ["(none)", "SegmentIO track – Other"]),
        ("by=property", None),
        ("by=trait", None),
        ("by=x&path=plan", ["&lt;b&gt;free&lt;/b&gt;", "pro"]),
    ],
)
def test_goal__broken_down__shows_the_parts(
    world: World, goal: Goal, enter: Enter, query: str, parts: list[str] | None
) -> None:
    world.identify(userId="u1", traits={"plan": "now"})
    world.send(world.event("group", userId="u1", groupId="acme"), world.event("track", userId="u1", **ENTERED))
    world.track("Other", userId="u2")

    page = text_of(enter("viewer").get(f"{page_of(goal)}breakdown/?from=2026-11-20&to=2026-11-22&{query}"))

    table = page.partition('aria-label="Breakdown"')[2].partition("</table>")[0]
    assert sorted(re.findall(r'<td class="gp-name"><span [^>]*>(.*?)</span>', table)) == (parts or [])


@pytest.mark.promise("K-87")
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("only=persona&value=vip", "in the persona <strong>vip</strong>: 1 conversion"),
        ("only=trait&trait=plan&value=now", "with plan = <strong>now</strong>: 1 conversion"),
        ("only=goal&value=SegmentIO track – Other", "1 conversion, 1 visit, 1 visitor."),
        ("only=goal&value=9", "No other goal has the ID or name “9”."),
        ("only=goal&value=segmentio+track - other", ">SegmentIO track – Other</a>"),
        ("only=persona&value=VI P", "This site has no persona “VI P”."),
        ("only=persona&value=VI P", "only=persona&amp;value=vip"),
        ("only=persona&value=left", "in the persona <strong>left</strong>: 0 conversions"),
        ("only=group&value=acne", "This site has no group “acne”."),
        ("only=group&value=acne", "value=acme"),
        ("only=trait&trait=plna&value=now", "None of these visitors has a trait “plna”."),
        ("only=trait&trait=plna&value=now", "trait=plan"),
        ("only=trait&trait=plan&value=Now", "None of these visitors has “Now” as plan."),
        ("only=trait&trait=plan&value=Now", "value=now"),
        ("by=property&path=paln", "None of these conversions has a property “paln”."),
        ("by=property&path=paln", "path=plan"),
        ("by=trait&path=paln", "None of these visitors has a trait “paln”."),
        ("by=trait&path=paln", "path=plan"),
        ("only=trait&value=now", "Enter the value to filter visitors by"),
        ("only=x&value=now", "EUR 1,234.50"),
    ],
)
def test_goal__broken_down_of_some_visitors__says_whose(
    world: World, goal: Goal, enter: Enter, query: str, says: str
) -> None:
    world.identify(userId="u1", traits={"plan": "now"})
    left: dict[str, Any] = {"event": "Audience Exited", "properties": {"audience_key": "left", "left": False}}
    world.send(
        world.event("track", userId="u1", **ENTERED),
        world.event("track", userId="u1", **left),
        world.event("group", userId="u1", groupId="acme"),
    )
    world.track("Other", userId="u2")

    page = text_of(enter("viewer").get(f"{page_of(goal)}breakdown/?from=2026-11-20&to=2026-11-22&by=currency&{query}"))

    assert says in page


@pytest.mark.parametrize(
    "query",
    ["from=1990-01-01&step=hour", "from=x&to=9999-12-31&step=x", "from=2026-11-22&to=2026-01-01", "from=0001-01-01"],
)
def test_goal__with_an_odd_time__still_opens(world: World, goal: Goal, enter: Enter, query: str) -> None:
    page = text_of(enter("viewer").get(f"{page_of(goal)}?{query}&by=currency"))

    assert ("Too many points for one chart" in page) == ("1990" in query)


def test_conversions__of_a_goal__come_in_pages_with_their_messages(world: World, goal: Goal, enter: Enter) -> None:
    world.send(*(world.event("track", event="Buy", at=-number, messageId=None) for number in range(50)))
    viewer = enter("viewer")

    first = viewer.get(page_of(goal, "conversions/"))
    (older,) = re.findall(r'href="(\?before=.*?)"', text_of(first))
    second = viewer.get(page_of(goal, "conversions/") + html.unescape(older))

    shown = [*first.context["rows"], *second.context["rows"]]
    times = [each.conversion.occurred_at for each in shown]
    assert (len(first.context["rows"]), len({row.message_id for row in shown}), times) == (
        50,
        52,
        sorted(times, reverse=True),
    )
    assert viewer.get(f"/admin/s/{SITECODE}/events/{shown[-1].message_id}/").status_code == 200
    assert f"/events/{shown[-1].message_id}/" in text_of(second)
    assert "EUR 1,234.50" in text_of(first)
    assert 'href="?before' not in text_of(second)


@pytest.mark.parametrize(
    "query", ["before=x&id=1", "before=2026-11-22&id=1", "before=2026-11-22T03:00:00Z&id=x", "id=1"]
)
def test_conversions__from_an_odd_place__begin_with_the_newest(
    world: World, goal: Goal, enter: Enter, query: str
) -> None:
    assert len(enter("viewer").get(f"{page_of(goal)}conversions/?{query}").context["rows"]) == 2


@pytest.mark.parametrize("path", ["", "breakdown/", "conversions/", "edit/", "delete/"])
def test_goal__of_another_site_or_deleted__is_not_there(world: World, goal: Goal, enter: Enter, path: str) -> None:
    from api.ingest.provisioning import create_site

    elsewhere = catalogue.create_goal(Goal(site=create_site(name="Elsewhere"), name="X"), template=TEMPLATE)
    catalogue.delete_goal(goal, now=timezone.now())

    for each in (goal.pk, elsewhere.pk, 10**17, 10**30):
        assert enter("editor").get(f"{BASE}{each}/{path}").status_code == 404


# Making and editing


@pytest.mark.promise("K-32")
def test_goal__made_by_hand__has_its_tags_and_uses_no_quota(world: World, enter: Enter) -> None:
    sent = {"name": " Purchase", "tags": "shop\r\na, b", "has_multiple_conversions": "True", "type": "CUSTOM"}

    response = enter("editor").post(f"{BASE}new/", sent)

    made = Goal.objects.get()
    assert response.headers["Location"] == page_of(made)
    assert (made.name, made.origin, made.is_named_by_event) == (" Purchase", Goal.Origin.PERSON, False)
    assert made.has_multiple_conversions
    assert {tag.name for tag in made.tags.all()} == {"shop", "a, b"}
    assert not GoalCreation.objects.exists()
    world.track(" Purchase")
    assert world.goals() == {" Purchase": 1}


@pytest.mark.promise("K-19")
@pytest.mark.parametrize("page", ["new/", "edit/"])
def test_goal__name_of_another__is_refused_on_the_page(world: World, goal: Goal, enter: Enter, page: str) -> None:
    other = make(world, "Other")
    sent = {"name": NAME, "tags": "x", "has_multiple_conversions": "False", "type": "CUSTOM"}

    response = enter("editor").post(f"{BASE}{page}" if page == "new/" else page_of(other, page), sent)

    assert f"Goal {goal.pk} of this site has this name." in text_of(response)
    assert sorted(world.goals()) == ["Other", NAME]
    assert not AuditEntry.objects.exists()


@pytest.mark.promise("K-15")
def test_goal__renamed__is_told_what_it_means_and_means_it(world: World, goal: Goal, enter: Enter) -> None:
    page = text_of(enter("editor").get(page_of(goal, "edit/")))
    assert f"creates a new goal, <code>{NAME}</code>, starting at 0. This goal keeps its 2 conversions" in page

    assert edit(enter, goal, name="Purchase").status_code == 302

    world.track("Buy", at=9)
    assert world.goals() == {"Purchase": 2, NAME: 1}
    entry = AuditEntry.objects.get()
    assert (entry.before, entry.after) == ({"name": NAME}, {"name": "Purchase"})


@pytest.mark.promise("K-15")
def test_goal__renamed_and_keeping_its_events__goes_on(world: World, goal: Goal, enter: Enter) -> None:
    edit(enter, goal, name="Purchase", keeps_receiving="on")

    world.track("Buy", at=9)

    assert world.goals() == {"Purchase": 3}


@pytest.mark.promise("K-16")
def test_goal__renamed_as_its_event_is__goes_on(world: World, goal: Goal, enter: Enter) -> None:
    edit(enter, goal, name="Purchase")

    world.track("Purchase", at=9)

    assert world.goals() == {"Purchase": 3}


@pytest.mark.promise("K-17")
def test_goal__renamed_along_with_its_event__goes_on(world: World, goal: Goal, enter: Enter) -> None:
    edit(enter, goal, name="SegmentIO track – New")

    world.track("New", at=9)

    assert world.goals() == {"SegmentIO track – New": 3}


@pytest.mark.parametrize("name", [NAME, " x ", "a\nb", "a\r\nb"])
def test_goal__saved_without_a_new_name__keeps_it_to_the_byte(
    world: World, goal: Goal, enter: Enter, name: str
) -> None:
    Goal.objects.update(name=name)

    # A browser's text field loses line ends.
    sent = name.replace("\r", "").replace("\n", "")
    response = edit(enter, goal, name=sent, description="What counts", tags="", keeps_receiving="on")

    assert response.status_code == 302
    goal.refresh_from_db()
    assert (goal.name, goal.is_named_by_event, goal.description) == (name, True, "What counts")
    assert not goal.tags.exists()
    assert not GoalBinding.objects.exists()


def test_event__let_go__finds_its_goal_by_name_again(world: World, goal: Goal, enter: Enter) -> None:
    edit(enter, goal, name="Purchase", keeps_receiving="on")

    address = page_of(goal, f"events/{GoalBinding.objects.get().pk}/unbind/")
    response = enter("editor").post(address, {"confirmed": "yes"})

    assert response.headers["Location"] == page_of(goal)
    world.track("Buy", at=9)
    assert world.goals() == {"Purchase": 2, NAME: 1}


@pytest.mark.promise("K-19")
def test_goal__archived_and_restored__still_converts_and_is_flagged(world: World, goal: Goal, enter: Enter) -> None:
    editor = enter("editor")

    editor.post(page_of(goal, "archive/"))
    world.track("Buy", at=9)

    assert world.goals() == {NAME: 3}
    assert "Archived. It still counts conversions" in text_of(editor.get(page_of(goal)))
    editor.post(page_of(goal, "restore/"))
    goal.refresh_from_db()
    assert goal.archived_at is None


@pytest.mark.promise("K-18")
def test_goal__deleted__after_being_told_what_is_lost(world: World, goal: Goal, enter: Enter) -> None:
    editor = enter("editor")

    page = text_of(editor.get(page_of(goal, "delete/")))
    assert "and <strong>2 conversions</strong> of 2 visitors with EUR 1,234.50" in page
    assert "Archive instead" in page
    assert world.goals() == {NAME: 2}

    assert editor.post(page_of(goal, "delete/")).headers["Location"] == BASE
    assert world.goals() == {}
    world.track("Buy", at=9)
    assert world.goals() == {NAME: 1}
    assert not Goal.objects.filter(deleted_at=None, pk=goal.pk).exists()


# Names with identifiers


@pytest.fixture
def orders(world: World) -> list[Goal]:
    """Three goals of one pattern, with 3, 1 and 1 conversions."""
    for at, number in enumerate((1234, 1234, 1234, 5678, 91011)):
        world.track(f"Viewed order {number}", at=at * 3600)
    return list(Goal.objects.order_by("pk"))


def test_name__with_an_identifier__is_pointed_out_and_grouped_after_a_look(
    world: World, enter: Enter, orders: list[Goal]
) -> None:
    editor = enter("editor")
    assert "ID in name" in text_of(editor.get(BASE))
    assert "<code>Viewed order {n}</code>" in text_of(editor.get(page_of(orders[0])))

    page = editor.get(page_of(orders[0], "group-names/"))
    shown = " ".join(re.sub(r"<.*?>", " ", text_of(page)).split())
    assert "Nothing is saved yet." in shown
    assert "SegmentIO track – Viewed order {n} new 0 5" in shown
    assert "A new goal, SegmentIO track – Viewed order {n}, created by the next event" in shown
    assert "3 existing goals Archive them, except a goal chosen above. 5 conversions stay" in shown
    assert [goal for goal, _ in page.context["offered"]] == orders
    assert not Rule.objects.exists()

    for _ in range(2):  # a second click adds nothing
        assert editor.post(page_of(orders[0], "group-names/"), {"into": "", "old": "archive"}).status_code == 302

    world.track("Viewed order 5678", at=90_000)
    world.track("Viewed order 42424", at=90_001)
    assert world.goals()["SegmentIO track – Viewed order {n}"] == 2
    assert (Rule.objects.get().argument, Rule.objects.get().event_type) == ("Viewed order {n}", "track")
    assert names_in(text_of(editor.get(BASE))) == ["SegmentIO track – Viewed order {n}"]
    assert "ID in name" not in text_of(editor.get(f"{BASE}?status=all"))


@pytest.mark.parametrize("way", ["a member", "by name"])
def test_names__grouped_under_a_goal_there_is__convert_that_one(
    world: World, enter: Enter, orders: list[Goal], way: str
) -> None:
    into = orders[1] if way == "a member" else make(world, "Order viewed")
    chosen = {"into": str(into.pk)} if way == "a member" else {"into": "other", "other": "Order viewed"}

    answer = enter("editor").post(page_of(orders[0], "group-names/"), {**chosen, "old": "archive"})

    assert answer.headers["Location"] == page_of(into)
    world.track("Viewed order 42424", at=90_000)
    assert world.goals()[into.name] == (2 if way == "a member" else 1)
    assert set(Goal.objects.filter(archived_at=None)) == {into}


def test_names__grouped_and_left__stay_in_the_list_without_a_badge(
    world: World, enter: Enter, orders: list[Goal]
) -> None:
    editor = enter("editor")

    editor.post(page_of(orders[0], "group-names/"), {"into": "", "old": "keep"})

    assert len(names_in(text_of(editor.get(BASE)))) == 3
    assert "ID in name" not in text_of(editor.get(BASE))
    assert "group-names" not in text_of(editor.get(f"{BASE}cleanup/"))


def test_names__grouped_under_a_goal_that_is_not_there__are_not_and_near_ones_are_told(
    world: World, enter: Enter, orders: list[Goal]
) -> None:
    make(world, "Order viewed")

    page: Any = enter("editor").post(page_of(orders[0], "group-names/"), {"into": "other", "other": "viewed ORDER"})

    assert page.status_code == 400
    assert "exact name “viewed ORDER”. Did you mean: Order viewed" in page.content.decode()
    assert not Rule.objects.exists()


def test_name__of_a_person__is_not_pointed_out(world: World, enter: Enter) -> None:
    goal = make(world, "Viewed order 1234")
    editor = enter("editor")

    assert "identifier" not in text_of(editor.get(page_of(goal)))
    editor.post(page_of(goal, "group-names/"))
    assert not Rule.objects.exists()


# Who may


READS = ("", "export/", "tags/", "{goal}/", "{goal}/breakdown/", "{goal}/conversions/")
FORMS = ("new/", "merge/", "{goal}/edit/", "{goal}/delete/")
POSTS = (
    "change/",
    "changes/1/",
    "{goal}/unmerge/",
    "{goal}/archive/",
    "{goal}/restore/",
    "{goal}/events/1/unbind/",
)


@pytest.mark.parametrize("role", ["viewer", "editor", "owner", "superuser", "outsider", "anonymous"])
def test_pages__by_role__open_for_members_and_change_for_editors(
    world: World, goal: Goal, enter: Enter, role: str
) -> None:
    statuses = {}
    for method, paths in (("get", READS + FORMS), ("post", FORMS + POSTS)):
        for path in paths:
            response = getattr(enter(role), method)(BASE + path.format(goal=goal.pk))
            statuses[method, path] = response.status_code
            if response.status_code == 302 and role == "anonymous":
                assert response.headers["Location"].startswith("/admin/login/?next=")

    reads = {statuses["get", path] for path in READS}
    forms = {statuses["get", path] for path in FORMS}
    posts = {status for (method, _), status in statuses.items() if method == "post"}
    expected: dict[str, tuple[set[int], set[int], set[int]]] = {
        "viewer": ({200}, {403}, {403}),
        "editor": ({200}, {200}, {200, 302, 404}),  # a form that lacks fields, done, gone
        "owner": ({200}, {200}, {200, 302, 404}),
        "superuser": ({200}, {200}, {200, 302, 404}),
        "outsider": ({404}, {404}, {404}),
        "anonymous": ({302}, {302}, {302}),
    }
    assert (reads, forms, posts) == expected[role]
    assert bool(world.goals()) == (role in {"viewer", "outsider", "anonymous"})


# Merging


def test_goals__merged__are_previewed_counted_as_one_and_taken_back(world: World, goal: Goal, enter: Enter) -> None:
    world.track("Bought", at=60, userId="u2", properties={"revenue": 2, "currency": "USD"})
    other = Goal.objects.get(name__endswith="Bought")
    editor = enter("editor")
    picked = {"goal": [goal.pk, other.pk], "action": "merge"}

    preview = editor.get(editor.post(f"{BASE}change/", picked).headers["Location"])
    row = text_of(preview).partition('<tr id="union">')[2].partition("</tr>")[0]
    assert re.findall(r"<strong>(.*?)</strong>", row) == ["3", "2", "2", "EUR 1,234.50", "USD 2.00"]
    assert preview.context["into"] == goal  # the larger one

    merged = editor.post(f"{BASE}merge/", {**picked, "into": goal.pk})
    assert merged.headers["Location"] == page_of(goal)
    assert editor.get(page_of(other)).headers["Location"] == page_of(goal)
    page = editor.get(page_of(goal))
    assert "Undo the merge of SegmentIO track – Bought" in text_of(page)
    assert page.context["headline"].ever.conversions == 3
    assert names_in(text_of(editor.get(BASE))) == [NAME]
    assert len(editor.get(page_of(goal, "conversions/")).context["rows"]) == 3

    assert editor.post(page_of(other, "unmerge/")).headers["Location"] == page_of(other)
    assert [editor.get(page_of(each)).context["headline"].ever.conversions for each in (goal, other)] == [2, 1]
    assert editor.post(page_of(other, "unmerge/")).status_code == 404
    assert [entry.after for entry in AuditEntry.objects.order_by("id")] == [
        {"merged_into": goal.pk},
        {"merged_into": None},
    ]


def test_merge__of_one_goal__offers_others_by_name(world: World, goal: Goal, enter: Enter) -> None:
    other, _ = make(world, "Other & more"), make(world, "Third")

    page = text_of(enter("editor").get(f"{BASE}merge/?goal={goal.pk}&q=other"))

    assert f'href="?goal={goal.pk}&amp;goal={other.pk}"' in page
    assert "Third" not in page


@pytest.mark.parametrize("into", ["", "x", "other's"])
def test_merge__without_a_goal_of_its_own_to_keep__asks_again(
    world: World, goal: Goal, enter: Enter, into: str
) -> None:
    other = make(world, "Other")
    asked = {"goal": [goal.pk], "into": other.pk if into == "other's" else into}

    assert "with which goal?" in text_of(enter("editor").post(f"{BASE}merge/", asked))
    assert not Goal.objects.exclude(merged_into=None).exists()


# Tags


def test_tag__renamed__is_renamed_on_its_goals(world: World, goal: Goal, enter: Enter) -> None:
    tag = goal.tags.get()

    enter("editor").post(f"{BASE}tags/{tag.pk}/change/", {"name": "segment"})

    assert [each.name for each in goal.tags.all()] == ["segment"]
    assert AuditEntry.objects.get().after == {"name": "segment"}
    world.track("Other", at=9)  # goals made from now on have the site's tag all the same
    assert [each.name for each in Goal.objects.get(name__endswith="Other").tags.all()] == ["segment.io"]


def test_tag__given_the_name_of_another__is_put_into_it_after_a_question(
    world: World, goal: Goal, enter: Enter
) -> None:
    both = make(world, "Both", "shop", "segment.io")
    address, editor = f"{BASE}tags/{goal.tags.get().pk}/change/", enter("editor")

    assert "on 1 goal. The 2 goals tagged" in text_of(editor.post(address, {"name": "shop"}))
    assert {each.name for each in both.tags.all()} == {"shop", "segment.io"}

    editor.post(address, {"name": "shop", "merges": "on"})
    assert [[each.name for each in its.tags.all()] for its in (goal, both)] == [["shop"], ["shop"]]
    assert "segment.io" not in [tag.name for tag in editor.get(f"{BASE}tags/").context["tags"]]


@pytest.mark.parametrize("name", ["", "x" * 101, "segment.io"])
def test_tag__with_no_other_name__stays(world: World, goal: Goal, enter: Enter, name: str) -> None:
    enter("editor").post(f"{BASE}tags/{goal.tags.get().pk}/change/", {"name": name})

    assert [each.name for each in goal.tags.all()] == ["segment.io"]
    assert not AuditEntry.objects.exists()


def test_tags__listed__say_how_many_goals_they_have(world: World, goal: Goal, enter: Enter) -> None:
    make(world, "Shop", "shop", "segment.io")

    page = enter("viewer").get(f"{BASE}tags/?q=s")

    assert [(tag.name, tag.size) for tag in page.context["tags"]] == [("segment.io", 2), ("shop", 1)]
    assert "Rename" not in text_of(page)

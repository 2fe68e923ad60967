"""Charts in a browser: the change in words as on cards, and the picture; parts and times that renew themselves."""

import json
import re
import struct
import zlib
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from api.pages.change import compare
from goals.models import Goal
from tests.browser.admin import Desk, at_desk
from tests.browser.chromium import needs_browser
from tests.contract.server import Shop

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]
CHANGES = [(0, 0), (7, 7), (5, 0), (3, 4), (5000, 1), (1005, 1000), (1000, 1005), (1010, 1000), (1025, 1000)]
CHANGES += [(1035, 1000), (112, 100), (0, 9)]


@pytest.fixture
def desk(shop: Shop, browser: Browser) -> Iterator[Desk]:
    shop.send(shop.event(event="Buy"))
    with at_desk(browser, shop, role="viewer") as desk:
        yield desk


def open_goal(desk: Desk) -> Page:
    desk.open(f"goals/{Goal.objects.get().pk}/")
    expect(desk.page.get_by_role("button", name="Picture").first).to_be_visible()
    return desk.page


def test_chart__read_by_keys__says_each_change_as_cards_do(desk: Desk) -> None:
    page = open_goal(desk)
    chart = {
        "type": "line",
        "labels": [str(place) for place in range(len(CHANGES))],
        "series": [
            {"label": "Conversions", "values": [now for now, _ in CHANGES], "tone": "", "role": ""},
            {"label": "Before", "values": [before for _, before in CHANGES], "tone": "", "role": "before"},
        ],
        "marks": [{"at": 2, "text": "Deploy (ada)"}],
    }
    canvas = page.locator("canvas[data-chart]").first
    canvas.evaluate("(each, text) => { each.dataset.chart = text; }", json.dumps(chart))
    page.evaluate("document.dispatchEvent(new Event('gp:renewed'))")
    said = canvas.locator("xpath=..").locator("[aria-live]")

    canvas.focus()
    texts = []
    for _ in CHANGES:
        canvas.press("ArrowRight")
        texts.append(said.text_content() or "")

    assert [re.findall(r"\((.*?)\)", text)[0] for text in texts] == [compare(*pair).text for pair in CHANGES]
    assert [text.endswith(". Deploy (ada)") for text in texts] == [place == 2 for place in range(len(CHANGES))]


def test_picture__of_a_chart__is_a_png_of_it_on_the_ground_of_the_page(desk: Desk) -> None:
    page = open_goal(desk)
    canvas = page.locator("canvas[data-chart]").first
    size = canvas.evaluate("(each) => [each.width, each.height]")

    with page.expect_download() as download:
        page.get_by_role("button", name="Picture").first.click()

    picture = download.value.path().read_bytes()
    assert download.value.suggested_filename == "Conversions by day.png"
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert list(struct.unpack(">II", picture[16:24])) == size
    assert first_pixel(picture) == (255, 255, 255, 255), "a transparent ground is unreadable on a dark slide"


def days_of_chart(page: Page) -> list[list[str]]:
    days: list[list[str]] = json.loads(str(page.locator("canvas.gp-zooms").first.get_attribute("data-chart")))["days"]
    return days


def test_chart__dragged_over_steps__sets_the_range_of_the_page_to_their_days(desk: Desk) -> None:
    page = open_goal(desk)
    page.goto(f"{page.url}?range=28d&compare=year&by=property")
    canvas, days = page.locator("canvas.gp-zooms").first, days_of_chart(page)
    box = canvas.bounding_box()
    assert box is not None

    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=5)
    page.mouse.up()
    page.wait_for_url("**range=custom*")

    asked = {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}
    shown = days_of_chart(page)
    assert (asked["compare"], asked["by"]) == ("year", "property")
    assert 5 < len(shown) < 12
    assert [asked["from"], asked["to"]] == [shown[0][0], shown[-1][1]]
    assert shown == days[days.index(shown[0]) : days.index(shown[-1]) + 1]


def test_chart__chosen_by_keys__shows_these_days(desk: Desk) -> None:
    page = open_goal(desk)
    canvas, days = page.locator("canvas.gp-zooms").first, days_of_chart(page)

    canvas.focus()
    for key in ("End", "Shift+ArrowLeft", "Shift+ArrowLeft"):
        canvas.press(key)
    expect(canvas.locator("xpath=..").locator("[aria-live]")).to_have_text(
        f"{days[-3][0]} to {days[-1][1]}. Enter shows these days."
    )
    canvas.press("Enter")
    page.wait_for_url("**range=custom*")

    assert days_of_chart(page) == days[-3:]


def first_pixel(picture: bytes) -> tuple[int, ...]:
    """Return red, green, blue and alpha of the first pixel; no filter changes it."""
    place, parts = 8, b""
    while place < len(picture):
        (length,) = struct.unpack(">I", picture[place : place + 4])
        if picture[place + 4 : place + 8] == b"IDAT":
            parts += picture[place + 8 : place + 8 + length]
        place += length + 12
    depth, kind = picture[24:26]
    assert (depth, kind) in {(8, 6), (8, 2)}
    pixel = tuple(zlib.decompress(parts)[1 : 5 if kind == 6 else 4])
    return pixel if kind == 6 else (*pixel, 255)


def test_home__after_half_a_minute__renews_itself_unless_somebody_uses_it(shop: Shop, desk: Desk) -> None:
    page = desk.page
    page.clock.install()
    desk.open("")
    part = page.locator("[data-refresh]")
    part.evaluate("(each) => { each.firstElementChild.dataset.old = 'yes'; }")
    expect(part.locator("[data-old]")).to_have_count(1)

    part.locator("a, summary, button").first.focus()
    page.clock.run_for(31_000)
    expect(part.locator("[data-old]")).to_have_count(1)
    part.evaluate("() => document.activeElement.blur()")
    shop.send(*(shop.event(event="Buy") for _ in range(3)))
    page.clock.run_for(31_000)

    expect(part.locator("[data-old]")).to_have_count(0)
    expect(part).to_contain_text("4")


def test_times__while_a_page_is_open__go_on_and_swap_with_a_click(desk: Desk) -> None:
    page = desk.page
    page.clock.install()
    desk.open("goals/")
    time = page.locator("time[data-ago]").first
    expect(time).to_have_text(re.compile(r"\d+ (s|min) ago"))

    page.clock.run_for(3 * 3600 * 1000)
    expect(time).to_have_text("3 h ago")
    time.click()

    whole = time.get_attribute("title") or ""
    expect(time).to_have_text(whole.split(" (")[0])
    time.click()
    expect(time).to_have_text("3 h ago")


def test_chart__of_hours__names_each_day_once(desk: Desk) -> None:
    page = open_goal(desk)
    days = [f"{day} Nov" for day in range(10, 24)]
    chart = {
        "type": "line",
        "labels": [day for day in days for _ in range(24)],
        "series": [{"label": "Lag", "values": [1] * 24 * len(days), "tone": "", "role": ""}],
    }
    canvas = page.locator("canvas[data-chart]").first
    canvas.evaluate("(each, text) => { each.dataset.chart = text; }", json.dumps(chart))
    page.evaluate("document.dispatchEvent(new Event('gp:renewed'))")

    ticks = canvas.evaluate("each => Chart.getChart(each).scales.x.ticks.map(({ label }) => label)")

    assert len(ticks) > 3
    assert len(ticks) == len(set(ticks)), ticks

"""Sentences on pages: their words in backticks are code, never backticks."""

import html
import re

import pytest
from django.utils.html import format_html

from api.models import Message
from api.templatetags.figures import code
from tests.pages.catalogue import Place
from tests.support.pages import Enter, text_of
from tests.world import World

CODE = re.compile(r"<(code|pre|script|textarea)\b.*?</\1>|<[^>]*>", re.DOTALL)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Send `userId` or `a<b`.", "Send <code>userId</code> or <code>a&lt;b</code>."),
        ("One ` alone, and <b>", "One ` alone, and &lt;b&gt;"),
        (format_html("<time>{}</time> `x`", "5 < 6"), "<time>5 &lt; 6</time> <code>x</code>"),
        ("", ""),
        (None, ""),
    ],
)
def test_code__of_a_sentence__is_marked_and_the_rest_escaped(text: str | None, shown: str) -> None:
    assert code(text) == shown


@pytest.mark.parametrize("reason", ["unknown_goal", "excluded_by_sender"])
def test_pages__of_a_site_with_a_rejected_event__show_no_backtick(
    place: Place, world: World, enter: Enter, reason: str
) -> None:
    Message.objects.update(status="rejected", reason=reason)
    owner, found = enter("owner"), {}
    for name in ("settings", "delivery", "events-failed", "reconciliation", "events", "event", "tester", "guide"):
        page = text_of(owner.get(place.address(name)))
        found[name] = [line.strip() for line in html.unescape(CODE.sub("", page)).splitlines() if "`" in line]
    assert {name: lines for name, lines in found.items() if lines} == {}

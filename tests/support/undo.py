"""The button Undo of a message, for tests of pages."""

import html
import re
from typing import Any, Final

from django.test import Client

from tests.support.pages import text_of

TOAST: Final = re.compile(r'<div class="gp-note gp-good gf-toast">.*?</div>', re.DOTALL)


def press_undo(client: Client, response: Any, *, toast: int = -1, times: int = 1) -> str:
    """Follow an answer to its page, press Undo in a toast, the last one, and return the text of the page after it."""
    page = text_of(client.get(response.headers["Location"]))
    shown = TOAST.findall(page)[toast]
    (to,) = re.findall(r'action="([^"]*)"', shown)
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', shown):
        fields.setdefault(html.unescape(name), []).append(html.unescape(value))
    return [text_of(client.post(html.unescape(to), fields, follow=True)) for _ in range(times)][-1]

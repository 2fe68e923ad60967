"""User of the admin's pages without a browser: signs in, fills in the forms of a page, and sends them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx

Fields = dict[str, list[str]]
Changes = Mapping[str, str | list[str] | None]  # None leaves a field out, as an empty checkbox does


@dataclass
class Form:
    """A form of a page with the values that it would send unchanged."""

    action: str
    fields: Fields = field(default_factory=dict)


class Forms(HTMLParser):
    """Parser that collects the forms of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._select = self._area = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        if tag == "form":
            self.forms.append(Form(given.get("action", "")))
        elif not self.forms:
            return
        elif tag == "input" and name and given.get("type") not in {"submit", "button", "file"}:
            is_tick = given.get("type") in {"checkbox", "radio"}
            if not is_tick or "checked" in given:
                self._add(name, given.get("value", "on" if is_tick else ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in given:
            self._add(self._select, given.get("value", ""))
        elif tag == "textarea":
            self._area = name
            self._add(name, "")

    def handle_data(self, data: str) -> None:
        if self._area:
            self.forms[-1].fields[self._area][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        elif tag == "textarea":
            self.forms[-1].fields[self._area] = [self.forms[-1].fields[self._area][-1].removeprefix("\n")]
            self._area = ""

    def _add(self, name: str, value: str) -> None:
        self.forms[-1].fields.setdefault(name, []).append(value)


@dataclass
class WebUser:
    """A user with a password and a session."""

    base: str
    name: str
    password: str
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, follow_redirects=True))

    def sign_in(self) -> None:
        self.send("/admin/login/", {"username": self.name, "password": self.password, "next": "/admin/tables/"})

    def send(self, page: str, changes: Changes, *, action: str = "") -> str:
        """Send the form of a page whose action ends with `action`, with some fields changed. Return the answer."""
        answer = self.client.get(self.base + page)
        assert answer.status_code == 200, (page, answer.status_code, answer.text[:300])
        forms = [form for form in Forms(answer.text).forms if is_of_page(form)]
        form = next(form for form in reversed(forms) if form.action.partition("?")[0].endswith(action))
        fields: dict[str, Any] = dict(form.fields)
        for name, value in changes.items():
            fields[name] = [] if value is None else value
        target = httpx.URL(self.base + page).join(form.action or page)
        sent = self.client.post(target, data=fields, headers={"referer": self.base + page})
        assert sent.status_code == 200, (page, changes, sent.status_code, sent.text[:300])
        errors = re.findall(r'class="errorlist.*?</ul>', sent.text, re.DOTALL)
        assert not errors, (page, changes, errors)
        return sent.text


def is_of_page(form: Form) -> bool:
    """Return True if the form changes something and does not belong to the frame around the page."""
    return "csrfmiddlewaretoken" in form.fields and not form.action.endswith(("/logout/", "/i18n/setlang/"))

"""Helpers for tests of the settings pages."""

import html
from typing import Any

from django.test import Client

from api.models import AuditEntry
from tests.support.pages import text_of

BASE = "/admin/s/1q2w3e4r5t/settings/"


def look(person: Client, tab: str) -> str:
    return html.unescape(text_of(person.get(BASE + tab)))


def change(person: Client, path: str, **fields: Any) -> None:
    response = person.post(BASE + path, {**fields, "confirmed": "yes"})
    assert response.status_code == 302, response.content


def link_for(owner: Client, username: str, role: str = "editor") -> str:
    """Return the address of an invitation, without its host."""
    response: Any = owner.post(BASE + "members/change/", {"do": "invite", "username": username, "role": role})
    assert response.status_code == 200
    return "/admin/join/" + str(response.context["link"]).partition("/admin/join/")[2]


def told(entry: AuditEntry | None) -> tuple[str, Any, Any]:
    assert entry is not None
    return entry.what, entry.before, entry.after


def last_entry() -> tuple[str, Any, Any]:
    return told(AuditEntry.objects.order_by("pk").last())


def sent_form(owner: Client) -> dict[str, Any]:
    """Return what a browser would send back of the form of the settings."""
    form = owner.get(BASE).context["form"]
    values = {field.html_name: field.value() for field in form}
    values = {name: "\n".join(value) if isinstance(value, list) else value for name, value in values.items()}
    return {
        name: "on" if value is True else value
        for name, value in values.items()
        if value is not False and value is not None
    }

"""Browsers of users at the pages of a site."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from api.models import Membership, Role, Site

Enter = Callable[[str], Client]  # returns the browser of a user


def browser_of(site: Site, role: str) -> Client:
    """Return the browser of a viewer, editor or owner of the site, a superuser, an outsider, or a stranger."""
    client = Client(raise_request_exception=False)
    if role != "anonymous":
        user, _ = User.objects.get_or_create(username=role, is_superuser=role == "superuser")
        if role in Role.values:
            Membership.objects.get_or_create(user=user, site=site, defaults={"role": role})
        client.force_login(user)
    return client


def cookie_of(person: Client) -> str:
    """Return the header by which a browser shows that it is signed in."""
    return "; ".join(f"{cookie.key}={cookie.value}" for cookie in person.cookies.values())


def address(page: str) -> str:
    return f"/admin/s/1q2w3e4r5t/{page}"


def text_of(response: Any) -> str:
    """Return the text of a page; the response must be one."""
    assert response.status_code == 200, (response.status_code, response.headers)
    return str(response.getvalue().decode())


def form_of(person: Client, path: str) -> dict[str, Any]:
    """Return what a browser would send back from a form of the tables: every field unchanged."""
    response: Any = person.get(path)
    text_of(response)
    values = {field.html_name: field.value() for field in response.context["adminform"].form}
    return {name: "on" if value is True else value for name, value in values.items() if value not in (None, False)}

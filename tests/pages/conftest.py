"""People of a site who look at its pages."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponseBase
from django.test import Client

from api.models import Membership, Role
from tests.world import World

Enter = Callable[[str], Client]


@pytest.fixture
def enter(world: World) -> Enter:
    """Gives the browser of a viewer, editor or owner of the site, of a `superuser`, of an `outsider`, who belongs to no
    site, or of an `anonymous` person.
    """

    def enter(role: str) -> Client:
        client = Client(raise_request_exception=False)
        if role != "anonymous":
            user, _ = User.objects.get_or_create(username=role, is_superuser=role == "superuser")
            if role in Role.values:
                Membership.objects.get_or_create(user=user, site=world.site, defaults={"role": role})
            client.force_login(user)
        return client

    return enter


def text_of(response: HttpResponseBase) -> str:
    """The page, which must be one."""
    assert response.status_code == 200, (response.status_code, response.headers)
    content: bytes = response.content  # type: ignore[attr-defined]  # pages are never streamed
    return content.decode()


def form_of(person: Client, path: str) -> dict[str, Any]:
    """Return what a browser would send back from a form of the tables: every field as it stands."""
    response: Any = person.get(path)
    text_of(response)
    values = {field.html_name: field.value() for field in response.context["adminform"].form}
    return {name: "on" if value is True else value for name, value in values.items() if value not in (None, False)}

"""Ada, whom several tests look at, and the people who look."""

from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from api.models import Membership, Role, Site
from tests.world import World

ENTERED: dict[str, Any] = {"event": "Audience Entered", "properties": {"audience_key": "vip", "vip": True}}
EXITED: dict[str, Any] = {"event": "Audience Exited", "properties": {"audience_key": "vip", "vip": False}}


def send_ada(world: World) -> None:
    """Ada with all her identifiers, a group, a persona she left and one conversion; and Grace in that persona."""
    world.send(
        world.event(
            "identify", userId="ada-king", anonymousId="anon-1", properties={"plan": "pro", "username": "lovelace"}
        ),
        world.event("identify", at=1, userId="ada-king", properties={"kameleoonVisitorCode": "visitor-1", "age": 36}),
        world.event("group", at=2, userId="ada-king", groupId="acme", traits={"tier": "gold"}),
        world.event("track", at=3, userId="ada-king", **ENTERED),
        world.event("track", at=4, userId="ada-king", **EXITED),
        world.event("track", at=5, event="Bought", userId="ada-king", properties={"revenue": 12.5, "currency": "EUR"}),
        world.event("track", at=6, userId="grace", **ENTERED),
    )


def browser_of(site: Site, role: str) -> Client:
    """Return the browser of a viewer, editor or owner of the site, a superuser, an outsider, or a stranger."""
    client = Client(raise_request_exception=False)
    if role != "anonymous":
        user, is_new = User.objects.get_or_create(username=role, is_superuser=role == "superuser")
        if is_new and role in Role.values:
            Membership.objects.create(user=user, site=site, role=role)
        client.force_login(user)
    return client


def address(page: str) -> str:
    return f"/admin/s/1q2w3e4r5t/{page}"


def text_of(response: Any) -> str:
    """Return the text of a page; the response must be one."""
    assert response.status_code == 200, (response.status_code, response.headers)
    return str(response.getvalue().decode())

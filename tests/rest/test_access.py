"""Scope × operation × own and other site, from the URL map, so that a new operation without an entry fails."""

from collections.abc import Mapping
from typing import Any

import pytest
from django.test import Client

from api.http.credentials import clear_lookups
from api.http.tokens import make_token
from api.ingest.provisioning import create_site
from api.models import ManagementToken, Membership, Site, TokenScope
from tests.support.management_api import message, refusal
from tests.support.rest_access import (
    NOTHING,
    OPEN,
    OPERATIONS,
    documented_statuses,
    fill,
    holder_of,
    list_operations,
    make_places,
)
from tests.world import SITECODE, World, owner_of


@pytest.fixture
def places(world: World) -> Mapping[str, str]:
    return make_places(world)


def body_of(name: str, places: Mapping[str, str]) -> Any:
    """Return the body of an operation, with the values of its places."""
    content = OPERATIONS[name].body
    if not isinstance(content, dict):
        return content
    return {key: value.format_map(places) if isinstance(value, str) else value for key, value in content.items()}


def address(name: str, places: Mapping[str, str]) -> tuple[str, str]:
    method, _, path = name.partition(" ")
    query = OPERATIONS[name].query.format_map(places)
    return method, f"{fill(path, places)}?{query}" if query else fill(path, places)


def test_operations__of_the_url_map__are_those_of_the_matrix() -> None:
    assert sorted(OPERATIONS.keys() | OPEN) == sorted(list_operations())


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation__with_each_scope__needs_its_own(world: World, places: Mapping[str, str], name: str) -> None:
    operation = OPERATIONS[name]
    documented = documented_statuses(name)
    for scope in TokenScope:
        answer = holder_of(world, scope, is_superuser=operation.by_superuser).ask(
            *address(name, places), body_of(name, places)
        )
        assert answer.status_code in documented
        if scope == operation.scope:
            assert answer.status_code == operation.status, answer.content
        else:
            assert refusal(answer) == (403, "insufficient_scope"), scope
            assert f"needs the scope `{operation.scope}`" in message(answer)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation__by_a_caller_of_another_site__finds_nothing(
    world: World, places: Mapping[str, str], name: str
) -> None:
    operation = OPERATIONS[name]
    outsider = holder_of(world, site=create_site(name="Elsewhere"))

    answer = outsider.ask(*address(name, places), body_of(name, places))

    if operation.elsewhere == NOTHING:
        assert answer.status_code == 200
        assert not [text for text in (SITECODE, '"Bought"', "user-1") if text in answer.content.decode()]
    else:
        assert answer.status_code == operation.elsewhere, answer.content
    assert answer.status_code in documented_statuses(name)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation__without_a_token__is_401(world: World, places: Mapping[str, str], name: str) -> None:
    method, path = address(name, places)

    answer = Client().generic(method, path, b"{}", content_type="application/json")

    assert answer.status_code == 401
    assert 401 in documented_statuses(name)


# The scope `ingest`, at the door of senders


def send(world: World, token: str) -> int:
    clear_lookups()
    return world.post(world.event(), authorization=f"Bearer {token}").status_code


def make_sender(site: Site, *scopes: str) -> str:
    return make_token([site], description="CI", scopes=scopes, made_by=owner_of(site), expires_at=None)[1]


def test_sender__with_the_scope_ingest__may_send_until_it_ends(world: World) -> None:
    token = make_sender(world.site, "ingest")
    assert send(world, token) == 200

    Membership.objects.update(role="editor")
    assert send(world, token) == 401

    Membership.objects.update(role="owner")
    ManagementToken.objects.update(revoked_at=world.site.created_at)
    assert send(world, token) == 401


def test_sender__without_the_scope_or_the_site__may_not_send(world: World) -> None:
    assert send(world, make_sender(world.site, "read", "read:personal", "write", "admin")) == 401
    assert send(world, make_sender(create_site(name="Elsewhere"), "ingest")) == 403


def test_sender__reading_remote_data__may_not(world: World) -> None:
    headers = {"authorization": f"Bearer {make_sender(world.site, 'ingest')}"}

    assert world.get("IDENTIFY_a", token=False, headers=headers).status_code == 403

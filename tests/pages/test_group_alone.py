"""A group event without a person, on every page that shows events."""

from typing import Any

import pytest

from api.checks.run import verify
from api.ingest.provisioning import create_source
from api.models import Message
from tests.support.pages import Enter, text_of
from tests.world import World

PAGES = (
    "",
    "events/",
    "events/rows/",
    "events/?type=group",
    "events/{number}/",
    "settings/rules/",
    "settings/rules/new/?message={number}",
    "settings/rules/new/",
    "tester/?message={number}",
    "delivery/",
    "delivery/reconciliation/",
    "groups/",
    "groups/group/?id=acme",
    "why/?person=acme&goal=x",
    "people/",
    "people/?q=acme",
)


@pytest.fixture
def group(world: World) -> Message:
    world.send(world.event("group", userId=None, groupId="acme", traits={"plan": "gold"}))
    message = world.last_message()
    assert message.status == "done"
    return message


@pytest.mark.promise("K-80")
@pytest.mark.parametrize("page", PAGES)
def test_page__that_shows_events__shows_a_group_without_a_person(enter: Enter, group: Message, page: str) -> None:
    response: Any = enter("owner").get(f"/admin/s/1q2w3e4r5t/{page.format(number=group.pk)}")

    assert response.status_code == 200
    if page in {"events/", "events/?type=group"}:
        assert "acme" in text_of(response)
        assert "groupId" in text_of(response)


def test_programs__that_read_events__get_a_group_without_a_person(world: World, group: Message) -> None:
    auth = ("demo_client", "demo_secret")
    paths = (f"/api/trace?messageId={group.message_id}", f"/api/messages/{group.pk}/trace")

    assert [world.client.get(path, auth=auth).status_code for path in paths] == [200, 200]
    assert [report.check for report in verify() if report.found] == []


def test_tester__of_a_group_without_a_person__foretells_and_sends_it(enter: Enter, world: World) -> None:
    source = create_source(world.site, name="Shop server", kind="server")
    sent = {"source": source.pk, "body": '{"type": "group", "groupId": "acme", "traits": {"plan": "gold"}}'}

    for do in ("dry", "send"):
        response: Any = enter("editor").post("/admin/s/1q2w3e4r5t/tester/", {**sent, "do": do}, follow=True)
        assert response.status_code == 200
        assert "would be refused" not in text_of(response)


def test_forecast__over_a_group_without_a_person__tells_what_a_rule_does(world: World, group: Message) -> None:
    rule = {"name": "Drop", "action": "drop", "eventType": "group"}
    answer = world.client.post(
        "/api/sites/1q2w3e4r5t/rules/what-if", json={"rules": [rule], "last": 10}, auth=("demo_client", "demo_secret")
    )

    assert answer.status_code == 200, answer.text

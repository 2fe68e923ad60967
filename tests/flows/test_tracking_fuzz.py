"""Whatever is posted to the tracking API: an answer in JSON, nothing lost, no message that a person must look at."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.events.types import TYPES
from api.ingest.provisioning import create_source
from api.models import Message
from tests.support.tracking import KEY, basic
from tests.world import World

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(["u1", "a1", "E", "2026-11-22T00:00:00Z", "19.99", "null", "\0", "\ud800", "x" * 600]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    *("type", "event", "name", "userId", "anonymousId", "previousId", "groupId", "messageId", "timestamp"),
    *("originalTimestamp", "sentAt", "receivedAt", "properties", "traits", "context", "integrations", "category"),
)
EVENTS = st.builds(
    lambda type_, odd, sound: {"type": type_, **sound, **odd},
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
    st.sampled_from(
        [
            {},
            {"userId": "u1", "event": "E", "groupId": "g1", "previousId": "a1"},
            {"anonymousId": "a1", "event": "F", "traits": {"plan": "gold"}, "context": {"traits": {"age": 3}}},
        ]
    ),
)


def accepted() -> int:
    """Count the events that were accepted, whatever the digest made of them."""
    return Message.objects.filter(digested_at__isnull=False).count()


def refused() -> int:
    """Count the events that were refused at once and stored: of identical ones one is."""
    return Message.objects.filter(digested_at=None).count()


@pytest.mark.promise("K-80", "K-81", "K-85")
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    events=st.lists(EVENTS | VALUES, max_size=4),
    extra=st.dictionaries(st.sampled_from(["context", "integrations", "sentAt", "other"]), VALUES, max_size=2),
    path=st.sampled_from(["batch", "import", "b/", *TYPES]),
)
def test_body__of_any_json__is_answered_and_accounted_for(
    world: World, events: list[Any], extra: dict[str, Any], path: str
) -> None:
    if not world.site.sources.filter(name="Web").exists():
        create_source(world.site, name="Web", kind="browser", write_key=KEY)
    before = accepted(), refused()
    is_batch = path in {"batch", "import", "b/"}
    body = {"batch": events, **extra} if is_batch else events[0] if events else {}

    response = world.client.post(f"/v1/{path}", content=json.dumps(body).encode(), headers=basic())

    answer = response.json()
    assert response.status_code in {200, 400}, response.text
    assert answer["success"] == (response.status_code == 200)
    if not answer["success"]:
        assert answer["code"]
        assert answer["message"]
    world.digest()
    assert not Message.objects.filter(status__in=["failed", "pending"]).exists()
    if is_batch:
        assert answer["accepted"] + answer["duplicates"] + len(answer["rejected"]) == len(events)
        assert accepted() == before[0] + answer["accepted"]
        assert refused() <= before[1] + len(answer["rejected"])

"""Any order, any repetition, any split into batches: the same goals, conversions, owners and remote data."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.access import forget_lookups, generate_sitecode
from api.models import Site
from api.sites import create_site
from cohorts.models import Identity
from goals.models import Conversion
from tests.world import World

users = st.sampled_from([None, "u1", "u2"])
anonymous = st.sampled_from([None, "a1", "a2"])
visitors = st.sampled_from([None, "v1", "v2"])
traits = st.dictionaries(
    st.sampled_from(["plan", "age"]), st.sampled_from([None, 1, True, "x", [1], 1e22, -0.0, 1e-7, 1.5]), max_size=2
)
ids = {"userId": users, "anonymousId": anonymous, "kameleoonVisitorCode": visitors}
events = st.one_of(
    st.fixed_dictionaries({"type": st.just("track"), "event": st.sampled_from(["A", "B"]), **ids}),
    st.fixed_dictionaries({"type": st.just("page"), "name": st.sampled_from(["A", None]), **ids}),
    st.fixed_dictionaries({"type": st.just("identify"), "traits": traits, **ids}),
    st.fixed_dictionaries(
        {"type": st.just("group"), "groupId": st.sampled_from(["g1", "g2"]), "traits": traits, **ids}
    ),
    st.fixed_dictionaries({"type": st.just("alias"), "previousId": st.sampled_from(["u1", "u2", "a1"]), **ids}),
    st.fixed_dictionaries(
        {
            "type": st.just("track"),
            "event": st.sampled_from(["Audience Entered", "Audience Exited"]),
            "properties": st.sampled_from([{"audience_key": "p1"}, {"audience_key": "p2"}]),
            **ids,
        }
    ),
)
seconds = st.integers(0, 3)


def deliver(world: World, messages: list[dict[str, Any]], chooser: random.Random) -> Site:
    """Send messages to a new site in some order, some of them twice, digesting now and then."""
    site = create_site(name="Shuffled", sitecode=generate_sitecode())
    world.credential.sites.add(site)

    forget_lookups()
    queue = [*messages, *chooser.sample(messages, k=len(messages) // 2)]
    chooser.shuffle(queue)
    for message in queue:
        assert world.post(message, sitecode=site.sitecode).status_code == 200
        if chooser.random() < 0.4:
            world.digest()
    world.digest()
    return site


def state(world: World, site: Site) -> Any:
    """All that must not depend on order."""
    fields = ("goal__name", "message_key", "visitor_code", "keyed_by", "user_id", "anonymous_id", "occurred_at")
    conversions = sorted(Conversion.objects.filter(site=site).values_list(*fields), key=str)
    identities = Identity.objects.filter(site=site).order_by("kind", "value")
    owners = list(identities.values_list("kind", "value", "registers", "parent_kind", "parent_value"))
    keys = [f"{prefix}{id_}" for prefix in ("IDENTIFY_", "COHORTS_") for id_ in ("u1", "u2", "a1", "a2", "v1", "v2")]
    read = [
        world.client.get(
            "/map/map", params={"siteCode": site.sitecode, "key": key}, auth=("demo_client", "demo_secret")
        )
        for key in [*keys, "common"]
    ]
    return conversions, owners, [answer.content for answer in read]


@pytest.mark.promise("N-10", "N-09", "K-64", "K-71", "K-51", "W11")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(st.tuples(events, seconds), min_size=2, max_size=8), chooser=st.randoms(use_true_random=False))
def test_state__of_the_same_messages_in_two_orders__is_the_same(
    world: World, said: list[tuple[dict[str, Any], int]], chooser: random.Random
) -> None:
    messages = [world.event(at=at, **{"userId": None, "event": None, **event}) for event, at in said]
    for number, message in enumerate(messages):
        message["type"], message["messageId"] = said[number][0]["type"], f"m{number}"
        message["traits"] = message.get("traits", {})

    one, other = (deliver(world, messages, chooser) for _ in range(2))

    assert state(world, one) == state(world, other)

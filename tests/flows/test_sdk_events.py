"""Lines of SDKs from the request to their effects."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from api.erasure.erase import erase
from api.http.credentials import clear_lookups
from api.models import Message, Source
from cohorts.custom_values import read_custom_values
from cohorts.models import Identity
from goals.catalogue import delete_goal, purge_deleted
from goals.models import Cancellation, Conversion, Goal
from goals.reports.summaries import summarise_goals
from goals.visit_models import Exposure, VisitFact
from tests.support.sdk import conversion, custom_data, line, post_lines, send_lines
from tests.support.traces import look
from tests.support.verifying import execute, found_by_verify
from tests.world import SITECODE, World

USER_AGENT = "Mozilla/5.0 (X11) +https://x.example/?a=b&c=d&revenue=1000 100%"


def make_goal(world: World, **fields: Any) -> Goal:
    return Goal.objects.create(site=world.site, **{"name": "Order", **fields})


def test_lines__of_several_visitors_with_bad_ones__each_end_as_their_own_message(world: World) -> None:
    goal = make_goal(world)

    response = post_lines(
        world,
        conversion(goal.pk, "v1", revenue=10.25),
        "eventType=nonsense&visitorCode=v1&nonce=A",
        "",
        line("page", "v2", href="https://shop.example/?a=1&b=2", title="Check out é", referrersIndices=[1]),
        line("activity", "v3"),
    )
    world.digest()

    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "*"
    assert world.statuses() == [("done", ""), ("rejected", "invalid_line"), ("done", "")]
    bad = Message.objects.get(status="rejected")
    assert bad.detail.startswith("Line 2 has the eventType 'nonsense'.")
    assert list(Conversion.objects.values_list("visitor_code", "revenue", "currency")) == [
        ("v1", Decimal("10.25"), "USD")
    ]
    (fact,) = VisitFact.objects.all()
    assert (fact.visitor_code, fact.fact["href"]) == ("v2", "https://shop.example/?a=1&b=2")
    assert found_by_verify() == []


def test_user_agent__that_holds_a_revenue__changes_no_conversion(world: World) -> None:
    goal = make_goal(world)

    send_lines(world, f"{conversion(goal.pk, revenue=2.5)}&userAgent={USER_AGENT}")

    assert Conversion.objects.get().revenue == Decimal("2.5")


@pytest.mark.parametrize("is_same_request", [True, False])
def test_line__twice_with_one_nonce__counts_once(world: World, is_same_request: bool) -> None:  # noqa: FBT001
    goal = make_goal(world)
    sent = conversion(goal.pk)

    if is_same_request:
        post_lines(world, sent, sent)
    else:
        post_lines(world, sent)
        post_lines(world, sent.replace("visitorCode", "x=y&visitorCode"))
    world.digest()

    assert Conversion.objects.count() == 1
    post_lines(world, sent.replace("=v1", "=v2"))  # the nonce is another visitor's
    world.digest()
    assert sorted(world.visitors()) == ["v1", "v2"]
    assert found_by_verify() == []


@pytest.mark.parametrize("authorization", ["Bearer nonsense", "Basic nonsense", ""])
def test_request__with_a_bad_token__is_accepted(world: World, authorization: str) -> None:
    response = post_lines(world, line("page", href="/"), headers={"authorization": authorization})

    assert response.status_code == 204
    assert Message.objects.count() == 1


def test_request__of_an_unknown_site_or_of_none__is_refused_with_cors(world: World) -> None:
    unknown = world.client.post("/visit/events?siteCode=0000000000", content=line("page", href="/"))
    missing = world.client.post("/visit/events", content=line("page", href="/"))

    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_site")
    assert (missing.status_code, missing.json()["code"]) == (400, "invalid_request")
    assert unknown.headers["access-control-allow-origin"] == "*"
    preflight = world.client.options(
        "/visit/events",
        headers={"access-control-request-method": "POST", "access-control-request-headers": "content-type"},
    )
    assert (preflight.status_code, preflight.headers["access-control-allow-headers"]) == (204, "content-type")


def test_request__larger_than_three_mebibytes__is_refused_and_its_beginning_kept(world: World) -> None:
    page = line("page", href="/" + "x" * 1_000)
    lines = 3 * 1_048_576 // len(page)

    assert post_lines(world, *[page] * (lines - 10)).status_code == 204
    assert post_lines(world, *[page] * (lines + 10)).status_code == 413
    assert Message.objects.filter(reason="too_large").count() == 1


def test_source__of_a_site_that_sends_for_the_first_time__is_made_once(world: World) -> None:
    for _ in range(2):
        clear_lookups()
        post_lines(world, line("page", href="/"))

    source = Source.objects.get(site=world.site, kind="sdk")
    assert set(Message.objects.values_list("source_id", flat=True)) == {source.pk}
    assert source.name == "Kameleoon SDKs"


def test_source__that_is_switched_off__keeps_lines_and_answers_204(world: World) -> None:
    post_lines(world, line("page", href="/"))
    Source.objects.filter(kind="sdk").update(is_enabled=False)
    clear_lookups()

    response = post_lines(world, line("page", href="/"))

    assert response.status_code == 204
    assert world.statuses() == [("pending", ""), ("rejected", "source_off")]


def test_source__with_a_used_up_budget__answers_429_and_stores_nothing(world: World) -> None:
    post_lines(world, line("page", href="/"))
    Source.objects.filter(kind="sdk").update(events_per_minute=1)
    clear_lookups()

    response = post_lines(world, line("page", href="/"))

    assert (response.status_code, response.json()["code"]) == (429, "over_budget")
    assert response.headers["retry-after"]
    assert Message.objects.count() == 1


def test_conversion__of_a_goal_that_is_unknown_or_deleted__is_rejected_until_it_exists(world: World) -> None:
    goal = make_goal(world)
    Goal.objects.filter(pk=goal.pk).update(deleted_at=goal.created_at)

    send_lines(world, conversion(goal.pk), conversion(goal.pk + 1_000), conversion(-1))

    assert world.statuses() == [("rejected", "unknown_goal")] * 3
    assert not Goal.objects.filter(deleted_at=None).exists()
    assert found_by_verify() == []


def test_conversion__of_a_merged_or_archived_goal__counts_as_elsewhere(world: World) -> None:
    target = make_goal(world, name="Target")
    merged = make_goal(world, name="Merged", merged_into=target, counts_for=target)
    archived = make_goal(world, name="Archived", archived_at=target.created_at)

    send_lines(world, conversion(merged.pk), conversion(archived.pk, metadata={"1": ["m"]}))

    assert world.goals() == {"Archived": 1, "Merged": 1, "Target": 0}
    assert "archived_goal" in world.last_message().warnings
    assert Conversion.objects.get(goal=archived).properties["metadata"] == {"1": ["m"]}


@pytest.mark.parametrize(
    ("revenue", "amount", "warnings"),
    [
        ("0.0", None, []),
        ("1e2", Decimal(100), []),
        ("1e-7", Decimal(0), []),
        ("1e+21", None, ["invalid_revenue"]),
        ("NaN", None, ["invalid_revenue"]),
        ("12,5", None, ["invalid_revenue"]),
    ],
)
def test_revenue__as_sdks_write_it__is_in_the_sites_currency(
    world: World, revenue: str, amount: Decimal | None, warnings: list[str]
) -> None:
    world.change_site(default_currency="EUR")

    send_lines(world, conversion(make_goal(world).pk, revenue=revenue))

    converted = Conversion.objects.get()
    assert (converted.revenue, converted.currency) == (amount, None if amount is None else "EUR")
    assert world.last_message().warnings == warnings


def test_custom_data__that_overwrites_or_adds__is_the_same_in_any_order(world: World) -> None:
    send_lines(world, custom_data(1, "old"), custom_data(1, "a", "b"), custom_data(1, "b", overwrite=False))
    send_lines(world, custom_data(2, "x", overwrite=False), custom_data(2, "x", "y", overwrite=False))

    (identity,) = Identity.objects.all()
    assert read_custom_values(identity.registers) == {1: {"a": 1, "b": 2}, 2: {"x": 2, "y": 1}}
    assert VisitFact.objects.filter(type=VisitFact.Type.CUSTOM_DATA).count() == 5
    assert found_by_verify() == []


def test_mapping_line__of_a_visitor__links_the_code_to_the_user(world: World) -> None:
    goal = make_goal(world)

    send_lines(world, conversion(goal.pk, None, mappingValue="known-1"))
    assert world.visitors() == ["known-1"]
    send_lines(
        world,
        custom_data(3, "known-1", mappingIdentifier=True),
        conversion(goal.pk, None, mappingValue="known-1"),
        custom_data(4, "of the person", visitor=None, mappingValue="known-1"),
    )

    assert world.visitors() == ["v1", "v1"]
    user = Identity.objects.get(kind=Identity.Kind.USER)
    assert user.value == "known-1"
    assert read_custom_values(user.registers) == {3: {"known-1": 1}, 4: {"of the person": 1}}
    assert found_by_verify() == []


@pytest.mark.parametrize("is_first", [True, False])
def test_unique_identifier__that_a_device_maps_to_itself__converts_as_the_device_that_linked_it(
    world: World, *, is_first: bool
) -> None:
    goal = make_goal(world)
    linked = custom_data(3, "ann", visitor="device-a", mappingIdentifier=True)
    itself = [custom_data(3, "ann", visitor="ann", mappingIdentifier=True), conversion(goal.pk, "ann")]

    for lines in ([linked], itself) if is_first else (itself, [linked]):
        send_lines(world, *lines)

    assert world.visitors() == ["device-a"]
    stored = Message.objects.count()
    send_lines(world, custom_data(3, "ann", visitor="ann", mappingIdentifier=True))
    assert Message.objects.count() == stored
    assert found_by_verify() == []


def test_exposures__of_many_evaluations__are_a_set_with_a_first_time(world: World) -> None:
    send_lines(world, line("experiment", id=5011, variationId=70111), line("experiment", id=5011, variationId=70111))
    send_lines(world, line("experiment", id=5011, variationId=70112), line("experiment", "v2", id=5011, variationId=1))

    first = Message.objects.order_by("id").values_list("received_at", flat=True)[0]
    exposures = Exposure.objects.order_by("visitor_code", "variation_id")
    assert list(exposures.values_list("visitor_code", "experiment_id", "variation_id")) == [
        ("v1", 5011, 70111),
        ("v1", 5011, 70112),
        ("v2", 5011, 1),
    ]
    assert exposures[0].first_at == first
    assert found_by_verify() == []


def test_json_body__of_the_same_lines__is_accepted(world: World) -> None:
    items = [{"nonce": "A1", "eventType": "PAGE", "href": "/", "visitorCode": "v1"}]

    response = world.client.post(f"/visit/events?siteCode={SITECODE}&json=true&visitorCode=v+2", json=items)
    world.digest()

    assert response.status_code == 204
    assert VisitFact.objects.get().visitor_code == "v+2"


def test_traces__of_each_type_of_line__say_what_happened(world: World) -> None:
    goal = make_goal(world)
    send_lines(
        world,
        conversion(goal.pk),
        conversion(goal.pk + 1),
        custom_data(1, "a", overwrite=False),
        line("experiment", id=1, variationId=2),
    )
    post_lines(world, line("experiment", id=3, variationId=4))
    post_lines(world, line("experiment", id=3, variationId=4), "eventType=nonsense")  # before the first is digested
    world.digest()

    traces = [{step.title: step.text for step in look(message).steps} for message in Message.objects.order_by("id")]

    assert traces[0]["Goal"].startswith("Its id leads to “Order”.")
    assert traces[1]["Goal"].startswith("No live goal of the site has the id")
    assert traces[2]["Visit"] == "Recorded."
    assert traces[3]["Visit"] == "Exposure of variation 2 of the experiment 1: the first time."
    assert traces[5]["Visit"] == "Exposure of variation 4 of the experiment 3, as before."
    assert "Rejected on arrival" in traces[6]


def test_negative_conversion__of_a_goal__is_counted_by_itself_and_takes_its_revenue(world: World) -> None:
    goal = make_goal(world)
    send_lines(world, conversion(goal.pk, revenue=10.25), conversion(goal.pk, "v2", revenue=5))
    sent = conversion(goal.pk, revenue=2.25, negative=True, metadata={"1": ["m"]})

    send_lines(world, sent, conversion(goal.pk, None, mappingValue="known-1", negative=True), sent)
    send_lines(world, sent)

    assert Conversion.objects.count() == 2
    assert world.last_message().effects == ["cancelled"]
    summary = summarise_goals(world.site.pk, [goal], now=datetime.now(UTC))[goal.pk]
    for figures in (summary.ever, summary.last_30_days, summary.last_24_hours):
        assert (figures.conversions, figures.visits, figures.visitors, figures.cancellations) == (2, 2, 2, 2)
        assert figures.revenue == {"USD": Decimal(13)}
    cancelled = Cancellation.objects.get(visitor_code="v1")
    assert (cancelled.revenue, cancelled.properties["metadata"]) == (Decimal("2.25"), {"1": ["m"]})
    assert found_by_verify() == []
    day = cancelled.occurred_at.date()
    cancelled.delete()
    lost, *differences = found_by_verify()
    assert lost.startswith("message ")
    assert differences == [f"goal {goal.pk}: the day {day}", f"goal {goal.pk}: its totals"]


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE goals_cancellation SET message_key = 'conversion:x'",
        "UPDATE goals_cancellation SET site_id = site_id + 1",
        "UPDATE api_message SET effects = '{recorded}', status = 'done' WHERE 'cancelled' = ANY(effects)",
    ],
)
def test_cancellation__without_a_message_that_cancelled__is_found_by_verify(world: World, tampering: str) -> None:
    goal = make_goal(world)
    send_lines(world, conversion(goal.pk, negative=True))
    assert found_by_verify() == []

    execute(tampering)

    cancellation = Cancellation.objects.get()
    assert [row for row in found_by_verify() if row.startswith(f"cancellation {cancellation.pk} (conversion:")]


def test_negative_conversion__of_an_unknown_goal__is_rejected(world: World) -> None:
    send_lines(world, conversion(1, negative=True))

    assert world.statuses() == [("rejected", "unknown_goal")]


def test_negative_conversions__of_an_erased_person__keep_their_figures(world: World) -> None:
    goal = make_goal(world)
    send_lines(world, conversion(goal.pk, negative=True, metadata={"1": ["v1"]}))

    erase(world.site, "v1", by="ada", now=datetime.now(UTC))

    cancelled = Cancellation.objects.get()
    assert cancelled.visitor_code.startswith("erased:")
    assert (cancelled.properties, cancelled.message_key) == ({}, f"erased:{cancelled.pk}")
    assert not Message.objects.exists()


def test_goal__with_cancellations__is_purged_with_them(world: World) -> None:
    goal = make_goal(world)
    send_lines(world, conversion(goal.pk), conversion(goal.pk, negative=True))
    delete_goal(goal, now=datetime.now(UTC))

    while purge_deleted():
        pass

    assert not Cancellation.objects.exists()
    assert not Goal.objects.exists()
    assert found_by_verify() == []

"""The trace of each kind of message ends at the step that decided it."""

from collections.abc import Callable

import pytest
from django.utils import timezone

from api.http.credentials import clear_lookups
from api.models import Message, Rule, Source
from tests.support.traces import add_rule, converts_known, last, names_nobody, stay, waits_for_quota
from tests.world import World

pytestmark = pytest.mark.promise("N-04")

Go = Callable[[World], None]


def converts(world: World) -> None:
    world.track("Buy")


def waits_for_digest(world: World) -> None:
    stay(world, world.event(event="Buy"))


def fills_backlog(world: World) -> None:
    world.change_site(goals_per_10_seconds=1, max_waiting_names=0)
    world.track("First")
    world.track("Second")


def is_too_large(world: World) -> None:
    stay(world, world.event(x="y" * 1_100_000))


def is_no_json(world: World) -> None:
    stay(world, b"{")


def has_no_type(world: World) -> None:
    stay(world, {"name": "x"})


def meets_source_off(world: World) -> None:
    Source.objects.update(is_enabled=False)
    clear_lookups()
    stay(world, world.event())


def has_no_name(world: World) -> None:
    world.send(world.event(event=None))


def is_dropped(world: World) -> None:
    add_rule(world, Rule.Action.DROP, argument="noise", name="No noise")
    world.track("Buy")


def is_not_wanted_here(world: World) -> None:
    world.track("Buy", integrations={"All": False})


def tells_of_a_group_alone(world: World) -> None:
    world.send(world.event("group", userId=None, groupId="g1", traits={"size": 3}))


def is_not_taken(world: World) -> None:
    Source.objects.update(takes_track=False)
    world.track("Buy")


def makes_no_goal(world: World) -> None:
    add_rule(world, Rule.Action.NO_GOAL)
    world.track("Buy")


def identifies(world: World) -> None:
    world.identify(traits={"plan": "pro"})


def worker_dies(world: World) -> None:
    stay(world, world.event())
    Message.objects.update(status="failed", reason="worker_died", digested_at=timezone.now())


def digest_fails(world: World) -> None:
    stay(world, world.event())
    Message.objects.update(status="failed", reason="digest_failed", digested_at=timezone.now(), detail="Traceback")


INGEST = ["Received passed", "Authentication passed", "Size passed"]
TAKEN = [*INGEST, "Accepted passed", "Duplicates passed", "Redaction skipped"]
READ = [*TAKEN, "Processing passed", "Transform hook skipped"]
UNDERSTOOD = [*READ, "Rules skipped", "Parsed passed", "Identity passed"]


@pytest.mark.parametrize(
    ("go", "expected"),
    [
        (
            converts,
            [*UNDERSTOOD, "Goal passed", "New-goal limit passed", "Conversion passed", "Profile passed"],
        ),
        (
            converts_known,
            [*UNDERSTOOD, "Goal passed", "New-goal limit skipped", "Conversion passed", "Profile passed"],
        ),
        (
            waits_for_digest,
            [
                *TAKEN,
                "Processing waits",
                *UNDERSTOOD[len(TAKEN) + 1 :],
                "Goal passed",
                "New-goal limit waits",
                "Conversion waits",
                "Profile waits",
            ],
        ),
        (
            waits_for_quota,
            [*UNDERSTOOD, "Goal passed", "New-goal limit waits", "Conversion waits", "Profile passed"],
        ),
        (
            fills_backlog,
            [
                *UNDERSTOOD,
                "Goal passed",
                "New-goal limit stopped",
                "Conversion skipped",
                "Profile passed",
                "Outcome stopped",
            ],
        ),
        (is_too_large, [*INGEST[:2], "Size stopped"]),
        (is_no_json, [*INGEST, "Duplicates skipped", "Rejected on arrival stopped"]),
        (has_no_type, [*INGEST, "Duplicates skipped", "Rejected on arrival stopped"]),
        (meets_source_off, [*INGEST, "Duplicates skipped", "Rejected on arrival stopped"]),
        (names_nobody, [*READ, "Rules skipped", "Parsed stopped"]),
        (has_no_name, [*READ, "Rules skipped", "Parsed stopped"]),
        (is_dropped, [*READ, "Rules stopped"]),
        (is_not_wanted_here, [*READ, "Integrations stopped"]),
        (tells_of_a_group_alone, [*UNDERSTOOD, "Goal skipped", "Profile passed"]),
        (
            is_not_taken,
            [
                *INGEST,
                "Accepted passed",
                "Duplicates skipped",
                "Redaction skipped",
                *READ[len(TAKEN) :],
                "Rules stopped",
            ],
        ),
        (makes_no_goal, [*READ, "Rules passed", *UNDERSTOOD[len(READ) + 1 :], "Goal skipped", "Profile passed"]),
        (identifies, [*UNDERSTOOD, "Goal skipped", "Profile passed"]),
        (worker_dies, [*TAKEN, "Processing passed", "Outcome stopped"]),
        (
            digest_fails,
            [
                *UNDERSTOOD,
                "Goal passed",
                "New-goal limit skipped",
                "Conversion skipped",
                "Profile passed",
                "Outcome stopped",
            ],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_trace__of_each_way__has_these_steps(world: World, go: Go, expected: list[str]) -> None:
    go(world)

    assert [f"{each.title} {each.state}" for each in last(world).steps] == expected

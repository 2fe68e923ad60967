"""Chaos scenarios with their required results, on a short and a long scale."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Final

from tests.chaos.events import make_events, user_id
from tests.chaos.faults import FaultFigures, fill_disk, freeze_workers, hold_lock, shift_clock
from tests.chaos.ledger import (
    BUSIEST_10_SECONDS,
    Ledger,
    book_answers,
    book_effects,
    book_incidents,
    book_reference,
)
from tests.chaos.product import kill_children, lose_key
from tests.chaos.sender import Sender, paced, repeated, take_until
from tests.chaos.stack import ATTEMPTS, WEBS, Stack, count, is_digested, running_workers, wait_until

KILLERS: Final = "tests.chaos.killer"  # module that lets a message kill its worker


@dataclass(frozen=True, slots=True)
class OnceFigures:
    events: int  # at least; sending goes on until all kills are done
    per_second: float  # deliveries
    people: int
    goals: int
    goals_per_10_seconds: int
    workers: int
    kills: Mapping[str, int]  # by process


def deliver_exactly_once(stack: Stack, figures: OnceFigures, chooser: random.Random) -> Ledger:
    """Deliver each event 1 to 5 times in random order, while workers, web servers and beat are killed and replaced.

    Counts, people and remote data must equal those of a site that got the events once, in order, on one connection.
    """
    ledger = Ledger("Exactly once")
    # All kills may hit the same message, which must not fail because of them.
    victims = [name for name, kills in figures.kills.items() for _ in range(kills)]
    chooser.shuffle(victims)
    with running_workers(stack, figures.workers, attempts=len(victims) + 1) as workers:
        site, other = stack.sites.pop(), stack.sites.pop()
        limited = "UPDATE api_site SET goals_per_10_seconds = %(most)s WHERE id = %(site)s RETURNING id"
        stack.fetch(limited, most=figures.goals_per_10_seconds, site=site.id)
        sender = Sender(site, list(stack.ports.values()))
        is_over = threading.Event()
        events = take_until(
            is_over, make_events(chooser, people=figures.people, goals=figures.goals), least=figures.events
        )
        deliveries = paced(
            chooser,
            repeated(chooser, events, most=5),
            per_second=figures.per_second,
            burst=round(2 * figures.per_second),
        )
        with sender.sending(deliveries):
            for victim in victims:
                if victim in WEBS:
                    wait_until(partial(stack.is_ready, victim), victim)
                if victim in workers:
                    stack.catch(victim, within=20)  # a kill between two batches proves little
                stack.kill(victim)
                stack.start(victim)
            is_over.set()
        wait_until(lambda: is_digested(stack, site), "the digest")

        stack.kill(*workers[1:])
        reference = Sender(other, sender.ports[:1], connections=1)
        with reference.sending(sender.events.values()):
            pass
        wait_until(lambda: is_digested(stack, other), "the digest of the reference")

        for name, kills in figures.kills.items():
            ledger.note(f"{name} killed", kills)
        ledger.note("messages claimed by killed workers", count(stack, site, "attempts > 0"))
        book_answers(ledger, sender)
        book_effects(ledger, stack, sender)
        book_reference(ledger, stack, sender, reference)
        most = stack.fetch(BUSIEST_10_SECONDS, s=site.id)[0][0]
        ledger.require("goals made in 10 s, over the limit", max(0, most - figures.goals_per_10_seconds), 0)
        book_incidents(ledger, stack)
    return ledger


@dataclass(frozen=True, slots=True)
class KillerFigures:
    neighbours: int
    killers: int
    workers: int


def send_killers(stack: Stack, figures: KillerFigures, chooser: random.Random) -> Ledger:
    """Send messages that kill their worker, among other messages and followed by others."""
    ledger = Ledger("Messages that kill their worker")
    site = stack.sites.pop()
    sender = Sender(site, list(stack.ports.values()))
    neighbours = make_events(chooser, people=20, goals=10)
    killers = [
        {"type": "identify", "messageId": f"killer-{number}", "userId": user_id(number)}
        for number in range(figures.killers)
    ]
    together = [*islice(neighbours, figures.neighbours), *killers]
    chooser.shuffle(together)

    with sender.sending(together):
        pass
    is_over = threading.Event()
    with running_workers(stack, figures.workers, include=KILLERS):
        with sender.sending(paced(chooser, take_until(is_over, neighbours), per_second=20)):
            wait_until(lambda: count(stack, site, "attempts > 0"), "a worker's death")
            begun, begun_at = time.monotonic(), datetime.now(UTC)
            wait_until(lambda: count(stack, site, "status = 'failed'") >= figures.killers, "the killers' end")
            ledger.note("the killers failed after, s", time.monotonic() - begun)
            is_over.set()
        wait_until(lambda: is_digested(stack, site), "the digest")
        ledger.note("all digested after, s", time.monotonic() - begun)
        book_answers(ledger, sender)
        book_effects(ledger, stack, sender, failed=figures.killers)
        blamed = "message_id LIKE 'killer-%%' AND reason = 'worker_died' AND attempts = %(attempts)s"
        ledger.require(
            "killers failed after 3 attempts", count(stack, site, blamed, attempts=ATTEMPTS), figures.killers
        )
        delay = (
            "SELECT extract(epoch FROM max(digested_at - received_at))::float FROM api_message WHERE site_id = %(s)s"
        )
        among_others = f"{delay} AND status = 'done' AND attempts = 0 AND received_at > %(begun)s"
        ledger.note("slowest of those sent meanwhile, s", stack.fetch(among_others, s=site.id, begun=begun_at)[0][0])
        ledger.note("neighbours claimed by a killed worker", count(stack, site, "status = 'done' AND attempts > 0"))
        book_incidents(ledger, stack)
    return ledger


@dataclass(frozen=True, slots=True)
class OutageFigures:
    per_second: float
    people: int
    goals: int
    workers: int
    database_seconds: float
    broker_seconds: float
    worker_seconds: float


def outages(stack: Stack, figures: OutageFigures, chooser: random.Random) -> Ledger:
    """Stop PostgreSQL, Valkey and the workers in turn under steady load. No other process is restarted."""
    ledger = Ledger("Outages under steady load")
    site = stack.sites.pop()
    sender = Sender(site, list(stack.ports.values()))
    events = make_events(chooser, people=figures.people, goals=figures.goals)
    is_over = threading.Event()

    with running_workers(stack, figures.workers) as workers:

        @contextmanager
        def server_gone(name: str, how: signal.Signals) -> Iterator[None]:
            stack.stop_server(name, how)
            yield
            stack.start_server(name)

        @contextmanager
        def workers_gone() -> Iterator[None]:
            stack.kill(*workers)
            yield
            stack.start(*workers)

        # Name, outage, seconds, and whether senders may notice it.
        all_outages = (
            ("PostgreSQL, fast stop", server_gone("postgresql", signal.SIGINT), figures.database_seconds, True),
            ("PostgreSQL, immediate stop", server_gone("postgresql", signal.SIGQUIT), figures.database_seconds, True),
            ("Valkey", server_gone("valkey", signal.SIGKILL), figures.broker_seconds, False),
            ("workers", workers_gone(), figures.worker_seconds, False),
        )
        with sender.sending(paced(chooser, take_until(is_over, events), per_second=figures.per_second)):
            wait_until(lambda: count(stack, site, "status = 'done'"), "the first digest")
            for name, outage, seconds, is_noticed in all_outages:
                with outage:
                    begun, answers = time.monotonic(), len(sender.answers)
                    time.sleep(seconds)
                    if not is_noticed:
                        wait_until(partial(sender.was_answered_since, begun), f"an answer without {name}")
                    for kind in ("2xx", "503"):
                        ledger.note(f"{name}: answered {kind} meanwhile", sender.answers[answers:].count(kind))
                note_recovery(ledger, stack, sender, name)
            is_over.set()
        wait_until(lambda: is_digested(stack, site), "the digest")
        book_answers(ledger, sender)
        ledger.require("no answer", sender.answers.count("none"), 0)  # no web server was killed
        book_effects(ledger, stack, sender)
        book_incidents(ledger, stack)
    return ledger


def note_recovery(ledger: Ledger, stack: Stack, sender: Sender, name: str) -> None:
    """Wait until the backlog is digested, and note how long each step took."""
    begun, now = time.monotonic(), datetime.now(UTC)

    def has_digested() -> bool:
        return bool(count(stack, sender.site, "digested_at > %(now)s", now=now))

    def has_caught_up() -> bool:
        return not count(stack, sender.site, "status = 'pending' AND received_at < %(now)s", now=now)

    wait_until(partial(sender.was_answered_since, begun), f"an answer after the outage of {name}")
    ledger.note(f"{name}: answers after, s", time.monotonic() - begun)
    wait_until(has_digested, f"the digest after the outage of {name}")
    ledger.note(f"{name}: digests after, s", time.monotonic() - begun)
    wait_until(has_caught_up, f"the backlog of the outage of {name}")
    ledger.note(f"{name}: caught up after, s", time.monotonic() - begun)


Scenario = Callable[[Stack, random.Random], Ledger]


def scale_scenarios(
    once: OnceFigures, killers: KillerFigures, outage: OutageFigures, fault: FaultFigures
) -> Mapping[str, Scenario]:
    """Return the scenarios by name on one scale."""
    return {
        "once": lambda stack, chooser: deliver_exactly_once(stack, once, chooser),
        "killers": lambda stack, chooser: send_killers(stack, killers, chooser),
        "outages": lambda stack, chooser: outages(stack, outage, chooser),
        "lock": lambda stack, chooser: hold_lock(stack, fault, chooser),
        "frozen": lambda stack, chooser: freeze_workers(stack, fault, chooser),
        "clock": lambda stack, chooser: shift_clock(stack, fault, chooser),
        "disk": lambda stack, chooser: fill_disk(stack, fault, chooser),
        "child": lambda stack, chooser: kill_children(stack, fault, chooser),
        "key": lambda stack, chooser: lose_key(stack, fault, chooser),
    }


SHORT: Final = scale_scenarios(
    OnceFigures(
        events=300,
        per_second=60,
        people=40,
        goals=9,
        goals_per_10_seconds=6,
        workers=2,
        kills={"worker-1": 1, "worker-2": 1, "web-1": 1},
    ),
    KillerFigures(neighbours=40, killers=1, workers=1),
    OutageFigures(per_second=20, people=40, goals=9, workers=1, database_seconds=1, broker_seconds=2, worker_seconds=2),
    FaultFigures(per_second=20, people=40, seconds=4, damages=("gone", "garbage")),
)
LONG: Final = scale_scenarios(
    OnceFigures(
        events=10_000,
        per_second=400,
        people=300,
        goals=30,
        goals_per_10_seconds=10,
        workers=3,
        kills={"worker-1": 3, "worker-2": 3, "worker-3": 3, "web-1": 1, "web-2": 1, "beat": 1},
    ),
    KillerFigures(neighbours=2_000, killers=5, workers=2),
    OutageFigures(
        per_second=50, people=300, goals=30, workers=2, database_seconds=60, broker_seconds=60, worker_seconds=300
    ),
    FaultFigures(per_second=50, people=300, seconds=60),
)

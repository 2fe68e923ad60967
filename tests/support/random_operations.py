"""Random operations of senders, workers, people and time on one site."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from django.db.models import F

from api.digest.claims import Claims
from api.digest.prune import prune_old
from api.models import Message
from goals import catalogue
from goals.matching import EventName
from goals.models import Goal
from tests.support.clock import Clock
from tests.world import World

MONTH = timedelta(days=40)

NAMES = ("A", "B", "C", "D", "E", "F", "G", "Poison")

BAD_BODIES = (
    b"",
    b"[",
    b'{"x":1}',
    b'[{"type":"dance"},{"type":"track","event":"A","userId":"u1"}]',
    b'{"type":"page"}',
)

VALUES = (None, True, 1, 1.5, -0.0, 1e22, 10**20, "x", "\u0000", [1, {"a": None}], {"b": 1e-7})

TEMPLATE = "SegmentIO {type} – {name}"


class RandomOperations:
    """Anything that may happen to a site, by chance."""

    def __init__(self, world: World, clock: Clock, chance: Random) -> None:
        self.world, self.clock, self.chance = world, clock, chance
        self.sent: list[dict[str, Any]] = []
        self.made = 0

    def happen(self) -> None:
        """One more thing happens."""
        things = {
            self.send: 60,
            self.send_again: 6,
            self.send_badly: 2,
            self.world.digest: 12,
            self.tend: 5,
            self.lose_worker: 1,
            self.grow_old: 1,
            self.rename: 1,
            self.delete: 2,
            self.make: 1,
            self.bind: 1,
        }
        self.chance.choices(list(things), list(things.values()))[0]()

    def settle(self) -> None:
        """Time goes by until nothing waits any more."""
        for _ in range(200):
            if not Message.objects.filter(status__in=("pending", "deferred")).exists():
                return
            self.world.digest()
            self.tend()
        raise AssertionError("something waits for ever")

    def send(self) -> None:
        pick = self.chance.choice
        ids = {
            "userId": pick(["u1", "u2", "u3", "u4", "null", None]),
            "anonymousId": pick(["a1", "a2", "a3", None]),
            "kameleoonVisitorCode": pick(["v1", "v2", "undefined", None, None, None]),
        }
        traits = {name: pick(VALUES) for name in ("plan", "age") if pick([True, False])}
        money = {
            "revenue": pick([1, "19.99", "$5", 1e22, 0.1]),
            "currency": pick(["eur", "?", 7, None]),
            "value": pick([2, "x"]),
        }
        said: dict[str, Any] = pick(
            [
                {"type": "track", "event": pick(NAMES), "properties": pick([money, traits, {}])},
                {"type": "track", "event": pick(NAMES), "messageId": None},
                {"type": pick(["page", "screen"]), "name": pick(["A", None]), "event": None},
                {"type": "identify", "traits": traits},
                {"type": "group", "groupId": pick(["g1", "g2", None]), "traits": traits},
                {"type": "alias", "previousId": pick(["u1", "u2", "a1"])},
                {"type": "track", "event": "Audience Exited", "properties": {pick(["p", "q"]): pick([True, False])}},
                {"type": "track", "event": pick([None, "x" * 501])},
            ]
        )
        then = datetime.now(UTC) - pick([timedelta(minutes=1), MONTH])
        fields: dict[str, Any] = {"timestamp": then.isoformat(), **ids, **said}
        self.sent.append(self.world.event(**fields))
        self.world.post(self.sent[-1])

    def send_again(self) -> None:
        if self.sent:
            self.world.post(self.chance.choice(self.sent))

    def send_badly(self) -> None:
        self.world.post(self.chance.choice(BAD_BODIES))

    def tend(self) -> None:
        self.clock.forward(11)
        Message.objects.filter(status="pending").update(digested_at=None)  # the pause of what failed is over
        self.world.tend()

    def lose_worker(self) -> None:
        """Let a worker die that has claimed a message."""
        dying = Claims()
        dying.note(self.world.site.pk, list(Message.objects.filter(status="pending").values_list("id", flat=True)[:1]))
        dying.close()

    def grow_old(self) -> None:
        """Make old messages old by receipt too, then prune them."""
        old = Message.objects.filter(status="done", occurred_at__lt=datetime.now(UTC) - MONTH / 2)
        old.update(digested_at=F("digested_at") - MONTH, received_at=F("received_at") - MONTH)
        prune_old(now=datetime.now(UTC), seconds=5)

    def any_goal(self) -> Goal:
        goals = list(Goal.objects.filter(deleted_at=None).order_by("id"))
        return self.chance.choice(goals or [self.make()])

    def rename(self) -> None:
        goal = self.any_goal()
        goal.name = self.chance.choice(NAMES)
        with suppress(catalogue.NameTakenError):
            catalogue.change_goal(goal, template=TEMPLATE, keeps_receiving=self.chance.choice([True, False]))

    def delete(self) -> None:
        catalogue.delete_goal(self.any_goal(), now=datetime.now(UTC))
        for _ in range(self.chance.choice([0, 1, 100])):
            catalogue.purge_deleted()

    def make(self) -> Goal:
        self.made += 1
        goal = Goal(site=self.world.site, name=f"SegmentIO track – {self.chance.choice(NAMES)}{self.made}")
        return catalogue.create_goal(goal, template=TEMPLATE)

    def bind(self) -> None:
        catalogue.bind_event(self.any_goal(), EventName("track", self.chance.choice(NAMES)), template=TEMPLATE)

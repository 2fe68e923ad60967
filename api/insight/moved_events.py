"""Events that count for another goal from now on, because a person or program gave a goal the name of their event."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction

from api.models.audit import write_audit
from goals.catalogue import list_events_of_name
from goals.matching import EventName
from goals.models import Goal
from goals.recording import find_goals_of_events

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


@dataclass(frozen=True, slots=True)
class MovedEvents:
    """Events of a goal that another takes."""

    goal_id: int  # of the goal that they counted for
    events: tuple[EventName, ...]


class MovesEventsError(Exception):
    """Raised before a goal takes events of others, with what it would take."""

    def __init__(self, moved: list[MovedEvents]) -> None:
        super().__init__(moved)
        self.moved = moved


@contextmanager
def note_moved_events(goal: Goal, *, template: str, by: "User | AnonymousUser | str", may_move: bool) -> Iterator[None]:
    """Log for each goal which of its events the goal that is saved inside takes by its name.

    Charts of both goals show these entries. Without `may_move` MovesEventsError is raised instead, and nothing is
    saved. Two queries if nothing moves.
    """
    events = list_events_of_name(goal.name, template=template)
    with transaction.atomic():
        before = find_goals_of_events(goal.site_id, events, template=template)
        yield
        after = find_goals_of_events(goal.site_id, events, template=template)
        moved: dict[int, list[EventName]] = {}
        for event, loser in before.items():
            if loser.id != goal.pk and event in after and after[event].id == goal.pk:
                moved.setdefault(loser.id, []).append(event)
        if moved and not may_move:
            raise MovesEventsError([MovedEvents(id_, tuple(its)) for id_, its in moved.items()])
        for id_, its in moved.items():
            names = [f"{event.type} {event.name}" for event in its]
            write_audit(by, goal.site, f"Moved events of the goal {id_} to the goal {goal.pk}", {"events": names}, None)

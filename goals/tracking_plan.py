"""Tracking plans: files of events that will be sent, and the creation of their goals in advance."""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from django.db import transaction

from goals import quota, waiting
from goals.catalogue import release_waiting_names
from goals.matching import EventName
from goals.models import Goal
from goals.naming import EVENT_NAME_LENGTH, GOAL_TYPES, name_goal
from goals.recording import find_goals_of_events, insert_goals

CHUNK: Final = 1_000  # names a transaction: while it lasts events of this site make no goals
FIRST_CELL: Final = re.compile(r'\s*"?\w*"?[^\S\t]*([,;\t])')
WRAPPERS: Final = ("data", "tracking_plan", "trackingPlan", "rules", "events")
NAMELESS_TYPES: Final = ("identify", "group", "alias", "common", "global")  # their events never make a goal
UNSTORABLE: Final = re.compile(r"[\0\ud800-\udfff]")


class UnreadablePlanError(Exception):
    """The file is no tracking plan; the message says why."""


@dataclass(frozen=True, slots=True)
class TrackingPlan:
    """Content of a tracking plan."""

    events: list[EventName] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # a sentence each, with the line or the rule
    ignored: Counter[str] = field(default_factory=Counter)  # rules without a goal, by type

    def add(self, place: str, type_: str, name: Any) -> None:
        """Add one line or rule, or the reason why it is refused."""
        if type_ in NAMELESS_TYPES:
            self.ignored[type_] += 1
        elif type_ not in GOAL_TYPES:
            self.refused.append(f"{place}: the type is {type_[:40]!r}; it must be one of {', '.join(GOAL_TYPES)}")
        elif not isinstance(name, str) or not name.strip():
            self.refused.append(f"{place}: the name is empty")
        elif len(name) > EVENT_NAME_LENGTH:
            length = f"{len(name):,} characters, more than {EVENT_NAME_LENGTH}"
            self.refused.append(f"{place}: the name {name[:40]!r}… has {length}")
        elif UNSTORABLE.search(name):
            self.refused.append(f"{place}: the name {name[:40]!r} holds a character that no database takes")
        else:
            self.events.append(EventName(type_, name))


@dataclass(frozen=True, slots=True)
class CreatedChunk:
    """Numbers of goals of a chunk of a plan: created, and there before."""

    made: int
    existed: int


def read_plan(content: bytes) -> TrackingPlan:
    """Return a plan given as CSV (`type,name`, see `read_csv`), or as JSON of Segment or RudderStack (`read_rules`).

    In UTF-8, or in UTF-16 with its byte order mark, as Excel saves "Unicode text" and PowerShell writes files. Raises
    UnreadablePlanError when the file as a whole is neither.
    """
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf_16 else "utf-8").lstrip("\ufeff")
    except UnicodeDecodeError as error:
        name = "UTF-16, as its byte order mark says," if is_utf_16 else "UTF-8"
        raise UnreadablePlanError(f"it is not {name} at byte {error.start:,}; save it as UTF-8") from error
    if text.lstrip()[:1] not in {"{", "["}:
        return read_csv(text)
    try:
        return read_rules(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UnreadablePlanError(f"it is not JSON: {error}") from error


def read_csv(text: str) -> TrackingPlan:
    """Return a plan with `type` and `name` first in each line, or where a header says.

    They are separated by commas, semicolons, or the tabs of a spreadsheet.
    """
    plan = TrackingPlan()
    separator = FIRST_CELL.match(text)
    delimiter = separator[1] if separator else ","
    # Strict, or a quote that is never closed would swallow the lines after it.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    columns: tuple[int, int] | None = None
    while True:
        place = f"line {lines.line_num + 1}"
        try:
            cells = next(lines)
        except StopIteration:
            return plan
        except csv.Error as error:
            plan.refused.append(f"{place}: {error}")
            continue
        titles = [cell.strip().lower() for cell in cells]
        if not any(titles):
            continue
        if columns is None:
            is_header = "type" in titles and "name" in titles
            columns = (titles.index("type"), titles.index("name")) if is_header else (0, 1)
            if is_header:
                continue
        type_, name = (cells[column] if column < len(cells) else "" for column in columns)
        plan.add(place, type_.strip().lower(), name)


def read_rules(document: Any) -> TrackingPlan:
    """Return a plan in JSON of Segment or RudderStack, with or without `data` around it.

    Segment's Public API has `rules` with `type` and `key`. Its older Config API and RudderStack have `rules.events`
    with `name`; RudderStack also has `eventType`.
    """
    plan = TrackingPlan()
    while isinstance(document, Mapping):
        wrapper = next((key for key in WRAPPERS if key in document), None)
        if wrapper is None:
            raise UnreadablePlanError(f"it is JSON and has no list of rules under {' or '.join(WRAPPERS)}")
        if wrapper == "events":  # beside them the older API keeps the rules of identify and group
            plan.ignored.update(
                key.removesuffix("_traits") for key, value in document.items() if value and key != "events"
            )
        document = document[wrapper]
    if not isinstance(document, list):
        raise UnreadablePlanError("it is JSON and holds no list of rules")
    for number, rule in enumerate(document, start=1):
        place = f"rule {number}"
        if not isinstance(rule, Mapping):
            plan.refused.append(f"{place}: it is no object")
            continue
        type_ = str(rule.get("type") or rule.get("eventType") or "track").lower()
        name = rule.get("key") or rule.get("name")
        if not name and type_ in {"page", "screen"}:  # a rule for all of them
            plan.ignored[type_] += 1
        else:
            plan.add(place, type_, name)
    return plan


def create_goals(site_id: int, events: Iterable[EventName], *, template: str, tag: str) -> Iterator[CreatedChunk]:
    """Create the goals of events before the events, outside their quota (promises K-23, K-32).

    Each chunk is a transaction of its own, so that a second run continues after the last one. Names that wait for a
    goal created here are released with it. Some ten queries a chunk, and at the end two of the whole queue.
    """
    remaining = iter(dict.fromkeys(events))
    while chunk := list(islice(remaining, CHUNK)):
        with transaction.atomic():
            made = _create_chunk(site_id, chunk, template=template, tag=tag)
        yield made
    with transaction.atomic():
        quota.lock_names(site_id)
        release_waiting_names(site_id, template=template)  # names that began to wait under another convention


def _create_chunk(site_id: int, events: Sequence[EventName], *, template: str, tag: str) -> CreatedChunk:
    quota.lock_names(site_id)
    known = find_goals_of_events(site_id, events, template=template)
    names = [name_goal(event.type, event.name, template=template) for event in events if event not in known]
    made = insert_goals(site_id, list(dict.fromkeys(names)), tag=tag, origin=Goal.Origin.IMPORT)
    waiting.mark_created(site_id, made)
    return CreatedChunk(len(made), len(events) - len(made))

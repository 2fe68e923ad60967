"""Annotations of charts: what people and programs wrote, and changes of the audit log that may explain a curve."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import transaction
from django.db.models import Q

from api.models import Annotation, AuditEntry, Site
from api.models.audit import audit_values, who_of, write_audit

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

MOST_READ: Final = 2_000  # the newest entries of the log
MOST: Final = 50
MOST_ANNOTATIONS: Final = 2_000  # of a site
TOO_MANY: Final = f"A site has {MOST_ANNOTATIONS:,} annotations at most. Delete some first."
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD: Final = timedelta(days=366)
RULE: Final = re.compile(r"(Added|Created|Changed|Switched|Moved|Deleted|Replaced) (?:a|the) rules?\b.*", re.DOTALL)
# Merges and moved events.
BETWEEN: Final = re.compile(r"(?:Merged|Undid the merge of|Moved events of) the goal (\d+) (?:in)?to the goal (\d+)")
CHANGE: Final = re.compile(r"Changed the goal (\d+)")


class TooManyAnnotationsError(Exception):
    """Raised for more annotations than a site may have."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A text at a time, and who wrote it or made the change that it names."""

    at: datetime
    text: str
    who: str
    annotation: Annotation | None = None  # None: from the audit log

    @property
    def sentence(self) -> str:
        """The text as a chart shows it, with the author of what was written by hand."""
        return f"{self.text} ({self.who})" if self.annotation else self.text


def find_annotations(site: Site, goal_ids: Collection[int], *, begin: datetime, end: datetime) -> list[Mark]:
    """Return the annotations of some goals and of all goals, from one time until before another.

    Merges and renames of these goals and changes of rules are among them. The oldest first, the newest MOST at most.
    Two queries, one of them of the newest MOST_READ entries of the log.
    """
    goals = set(goal_ids)
    of_goals = Q(goal=None) | Q(goal__in=goals)
    written = Annotation.objects.filter(of_goals, site=site, at__gte=begin, at__lt=end).order_by("-at", "-pk")[:MOST]
    entries = AuditEntry.objects.filter(site=site).order_by("-id")[:MOST_READ]
    rows = entries.values_list("at", "what", "who", "before", "after")
    found = [Mark(row.at, row.text, row.who, row) for row in written] + [
        Mark(at, text, who)
        for at, what, who, before, after in rows
        if begin <= at < end
        for text in _explain(what, before or {}, after or {}, goals)
    ]
    found.reverse()  # of one time the newer row is last
    return sorted(found, key=lambda mark: mark.at)[-MOST:]


def explain_time(at: datetime, *, now: datetime) -> str:
    """Return why an annotation cannot be at this time, empty if it can. Pure."""
    if EARLIEST <= at <= now + AHEAD:
        return ""
    return f"Enter a time from {EARLIEST.year} until a year from now."


def create_annotation(annotation: Annotation, *, by: "User | AnonymousUser | str") -> None:
    """Insert an annotation. Raises TooManyAnnotationsError. Three queries."""
    if Annotation.objects.filter(site=annotation.site).count() >= MOST_ANNOTATIONS:
        raise TooManyAnnotationsError
    annotation.who = annotation.who or who_of(by)
    with transaction.atomic():
        annotation.save(force_insert=True)
        write_audit(by, annotation.site, f"Created the annotation {annotation.pk}", None, read_values(annotation))


def change_annotation(annotation: Annotation, *, before: dict[str, Any], by: "User | AnonymousUser | str") -> None:
    """Save the changed fields of an annotation. `before` is what `read_values` returned then.

    Raises Annotation.DoesNotExist if it was deleted meanwhile. Two queries.
    """
    was, is_now = audit_values(before, read_values(annotation))
    if was:
        columns = {"goal_id" if name == "goal" else name for name in is_now}
        with transaction.atomic():
            rows = Annotation.objects.filter(site_id=annotation.site_id, pk=annotation.pk)
            if not rows.update(**{name: getattr(annotation, name) for name in columns}):
                raise Annotation.DoesNotExist
            write_audit(by, annotation.site, f"Changed the annotation {annotation.pk}", was, is_now)


def delete_annotation(annotation: Annotation, *, by: "User | AnonymousUser | str") -> None:
    """Delete an annotation, with its audit entry; nothing happens if it was deleted meanwhile. Two queries."""
    with transaction.atomic():
        rows = Annotation.objects.filter(site_id=annotation.site_id, pk=annotation.pk)
        if rows.delete()[0]:
            write_audit(by, annotation.site, f"Deleted the annotation {annotation.pk}", read_values(annotation), None)


def read_values(annotation: Annotation) -> dict[str, Any]:
    """Return what the audit log keeps of an annotation. Pure."""
    return {"at": annotation.at.isoformat(), "text": annotation.text, "goal": annotation.goal_id}


def _explain(what: str, before: dict[str, object], after: dict[str, object], goal_ids: set[int]) -> Iterator[str]:
    """Yield the text of an entry that concerns these goals. Pure."""
    if RULE.fullmatch(what):
        yield what
    elif match := BETWEEN.fullmatch(what):
        if goal_ids & {int(match[1]), int(match[2])}:
            yield what
    elif (match := CHANGE.fullmatch(what)) and int(match[1]) in goal_ids and "name" in after:
        yield f"Renamed “{before.get('name', '')}” to “{after['name']}”"

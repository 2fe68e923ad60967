"""Import of segments from Kameleoon: what Goalpost can judge of a person becomes a segment, the rest is left out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from api.models import Site
from api.remote_data.segment_changes import WrongConditionsError, create_segment
from cohorts.segment_tables import DESCRIPTION_LENGTH, NAME_LENGTH, Segment
from cohorts.segments.conditions import write_conditions
from cohorts.segments.saving import SegmentError
from cohorts.segments.sdk_conditions import NotExpressibleError
from cohorts.segments.sdk_reading import Ids, read_sdk_conditions

ACTOR: Final = "manage.py import_kameleoon"
Row = Mapping[str, Any]


def import_segments(
    site: Site, rows: Sequence[Row], custom_data: Sequence[Row], *, now: datetime
) -> Iterator[tuple[str, str | bool]]:
    """Create the segments that a site lacks, each in a transaction of its own, and yield the result of each.

    The result is True for one that was created, False for one that existed, and otherwise the reason.
    """
    pairs = [(row.get("id"), row.get("index")) for row in custom_data]
    indexes = {id_: index for id_, index in pairs if isinstance(id_, int) and isinstance(index, int)}
    here: dict[int, int] = {}  # the id of each segment by that at Kameleoon
    for row in in_order(rows):
        yield f"segment {row.get('id')}", _import_segment(site, row, Ids(here, indexes), here, now)


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Return segments after those that they name; those in a circle come last. Pure."""
    left, ordered = list(rows), list[Row]()
    while left:
        ids = [row.get("id") for row in left]
        free = [row for row in left if not any(id_ in ids for id_ in _find_named(row.get("conditionsData")))]
        ordered += free or left
        left = [row for row in left if row not in free] if free else []
    return ordered


def _find_named(found: Any) -> list[Any]:
    """Return the ids of segments that conditions name."""
    if isinstance(found, dict):
        own = [found["segmentId"]] if found.get("segmentId") is not None else []
        return [*own, *(id_ for value in found.values() for id_ in _find_named(value))]
    return [id_ for value in found for id_ in _find_named(value)] if isinstance(found, list) else []


def _import_segment(site: Site, row: Row, ids: Ids, here: dict[int, int], now: datetime) -> str | bool:
    """Create a segment and note its id in `here`."""
    name = row.get("name")
    if not isinstance(name, str) or not 0 < len(name.strip()) <= NAME_LENGTH or "\0" in name:
        return f"its name has not 1 to {NAME_LENGTH} characters"
    there = Segment.objects.filter(site=site, name=name.strip()).first()
    if there is not None:
        _note(row, there, here)
    try:
        conditions = write_conditions(read_sdk_conditions(row.get("conditionsData"), ids))
        if there is not None:
            is_same = there.conditions == conditions
            return False if is_same else "the site has another segment of this name, and keeps that"
        segment = create_segment(
            site,
            name=name.strip(),
            description=str(row.get("description") or "")[:DESCRIPTION_LENGTH].replace("\0", "\ufffd"),
            conditions=conditions,
            actor=ACTOR,
            now=now,
        )
    except (NotExpressibleError, WrongConditionsError, SegmentError) as error:
        return str(error)
    _note(row, segment, here)
    return True


def _note(row: Row, segment: Segment, here: dict[int, int]) -> None:
    if isinstance(row.get("id"), int):
        here[row["id"]] = segment.pk

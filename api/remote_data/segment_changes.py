"""Changes of segments, each checked, with its entry in the audit log and a new version of `/v3`."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction

from api.digest.segments import find_counted_goals
from api.models import Removal, Site, Source
from api.models.audit import audit_values, write_audit
from api.models.sdk_configuration import note_configuration_changed
from api.remote_data.configuration_changes import read_again
from api.remote_data.sdk_segments import take_free_id
from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from cohorts.segments import saving
from cohorts.segments.conditions import Conditions, read_conditions
from cohorts.segments.saving import SegmentInUseError
from cohorts.segments.validation import ConditionFault, KnownReferences, read_and_check
from goals.flags.usage import find_flags_by_segment
from goals.models import Goal

Actor = User | AnonymousUser | str


class WrongConditionsError(Exception):
    """Raised for conditions that cannot be used; `faults` has the place and a sentence of each fault."""

    def __init__(self, faults: Sequence[ConditionFault]) -> None:
        super().__init__(" ".join(describe_fault(fault) for fault in faults))
        self.faults = faults


class ChangedMeanwhileError(Exception):
    """Raised if a segment is not as the person saw it who saves it."""


def describe_fault(fault: ConditionFault) -> str:
    """Return a fault as one sentence with its place."""
    return f"{fault.place}: {fault.sentence}" if fault.place else fault.sentence


def load_references(site_id: int) -> KnownReferences:
    """Return the rows of a site that conditions may name. Four queries."""
    segments = Segment.objects.filter(site_id=site_id).values_list("pk", "conditions")
    return KnownReferences(
        goals=frozenset(Goal.objects.filter(site_id=site_id, deleted_at=None).values_list("pk", flat=True)),
        sources=frozenset(Source.objects.filter(site_id=site_id).values_list("pk", flat=True)),
        segments={id_: read_conditions(conditions) for id_, conditions in segments},
        custom_data=frozenset(CustomData.objects.filter(site_id=site_id).values_list("index", flat=True)),
    )


def check_conditions(site_id: int, value: Any, *, segment_id: int | None = None) -> Conditions:
    """Return the conditions of a JSON value. Raises WrongConditionsError. Four queries.

    Pass the id of the segment that is edited, because conditions must not lead back to it.
    """
    conditions, faults = read_and_check(value, load_references(site_id), segment_id=segment_id)
    if faults:
        raise WrongConditionsError(faults)
    return conditions


def create_segment(site: Site, *, name: str, description: str, conditions: Any, actor: Actor, now: datetime) -> Segment:
    """Create a segment from conditions as JSON, which a sweep fills. Raises WrongConditionsError, SegmentError."""
    with transaction.atomic():
        note_configuration_changed(site.pk, now=now)  # first, so that concurrent changes of the site wait
        checked = check_conditions(site.pk, conditions)
        segment = saving.create(
            site.pk,
            name=name,
            description=description,
            conditions=checked,
            counted_goals=find_counted_goals(site.pk, checked),
            id_=take_free_id(site.pk),
        )
        write_audit(actor, site, f"Created the segment {segment.pk}", None, fields_of(segment))
    return segment


def change_segment(
    segment: Segment, given: Mapping[str, Any], *, actor: Actor, now: datetime, seen: str | None = None
) -> Segment:
    """Save the fields that are given, and return the segment. If its conditions change, its members are found again.

    Fields that are not given keep what another request saved meanwhile. With `seen`, the `state_of` the segment that a
    person saw, raises ChangedMeanwhileError if another one changed it since. Raises WrongConditionsError, SegmentError,
    and Http404 if the segment was deleted meanwhile.
    """
    site = segment.site
    with transaction.atomic():
        note_configuration_changed(site.pk, now=now)
        read_again(segment)
        before = fields_of(segment)
        fields = {**before, **given}
        if seen is not None and seen != state_of(segment) and fields != before:
            raise ChangedMeanwhileError
        checked = (
            read_conditions(fields["conditions"])
            if fields["conditions"] == segment.conditions
            else check_conditions(site.pk, fields["conditions"], segment_id=segment.pk)
        )
        saved = saving.edit(
            segment,
            name=fields["name"],
            description=fields["description"],
            conditions=checked,
            counted_goals=find_counted_goals(site.pk, checked),
        )
        was, is_now = audit_values(before, fields_of(saved))
        if is_now:
            write_audit(actor, site, f"Changed the segment {segment.pk}", was, is_now)
    return saved


def delete_segment(segment: Segment, *, actor: Actor, now: datetime) -> None:
    """Delete a segment at once, and its members, entries and exits in the background (api.erasure.removal).

    Raises SegmentInUseError if another segment, custom data or a flag needs it. Raises Http404 if it was deleted
    meanwhile.
    """
    site = segment.site
    with transaction.atomic():
        note_configuration_changed(site.pk, now=now)
        read_again(segment)
        before = fields_of(segment)
        filled = CustomData.objects.filter(
            site=site, filled_from=CustomData.Filling.SEGMENT, filling=str(segment.pk)
        ).first()
        if filled is not None:
            raise SegmentInUseError(f"The custom data {filled.index} is filled from this segment. Change that first.")
        id_ = segment.pk
        if flags := find_flags_by_segment(site.pk).get(id_):
            raise SegmentInUseError(f"The flag “{flags[0]}” targets this segment. Change that first.")
        saving.remove(segment)
        entry = write_audit(actor, site, f"Deleted the segment {id_}", before, None)
        Removal.objects.create(
            site=site, of=Removal.Of.SEGMENT, name=segment.name, number=id_, removed_by=entry.who, created_at=now
        )


def state_of(segment: Segment) -> str:
    """Return a text that differs once the editable fields of a segment differ."""
    return hashlib.sha256(msgspec.json.encode(fields_of(segment), order="deterministic")).hexdigest()[:16]


def fields_of(segment: Segment) -> dict[str, Any]:
    """Return the editable fields of a segment as JSON."""
    return {name: getattr(segment, name) for name in ("name", "description", "conditions")}

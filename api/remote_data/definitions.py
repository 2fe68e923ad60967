"""Changes of the definitions of custom data, each with its audit entry and a new version of `/v3`."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.http import Http404

from api.models import Site
from api.models.audit import audit_values, write_audit
from api.models.sdk_configuration import note_configuration_changed
from api.remote_data.configuration_changes import read_again
from cohorts.custom_data import Definition, Filling, definition_of, find_problems
from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from cohorts.segments import upkeep


class WrongDefinitionError(Exception):
    """Raised for a definition that cannot be used; `problems` has a sentence for each wrong field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems


def first_free_index(site: Site) -> int:
    """Return the lowest index that no custom data of a site has. One query."""
    used = set(CustomData.objects.filter(site=site).values_list("index", flat=True))
    return next(index for index in range(1, len(used) + 2) if index not in used)


def save_definition(
    site: Site,
    definition: Definition,
    *,
    row: CustomData | None = None,
    by: User | AnonymousUser | str,
    now: datetime,
) -> CustomData:
    """Insert a definition, or give an existing row this one. Some five queries.

    Raises WrongDefinitionError, and Http404 if the row was deleted meanwhile.
    """
    with transaction.atomic():
        note_configuration_changed(site.pk, now=now)  # first, so that concurrent changes of the site wait
        stored = {each.pk: definition_of(each) for each in CustomData.objects.filter(site=site)}
        if row is not None and row.pk not in stored:
            raise Http404
        old = None if row is None else stored.pop(row.pk)
        problems = find_problems(definition, stored.values()) or find_missing_segment(site.pk, definition)
        if problems:
            raise WrongDefinitionError(problems)
        before = None if old is None else msgspec.structs.asdict(old)
        saved = row or CustomData(site=site)
        after = msgspec.structs.asdict(definition)
        for name, value in after.items():
            setattr(saved, name, value)
        saved.save()
        upkeep.note_custom_data(site.pk, find_changed_filling(old, definition))
        if before is None:
            write_audit(by, site, f"Created the custom data {definition.index}", None, after)
        elif before != after:
            write_audit(by, site, f"Changed the custom data {definition.index}", *audit_values(before, after))
    return saved


def find_missing_segment(site_id: int, definition: Definition) -> dict[str, str]:
    """Return the problem of a definition that is filled from a segment that is not there. One query, if from any."""
    if definition.filled_from != Filling.SEGMENT:
        return {}
    if Segment.objects.filter(site_id=site_id, pk=int(definition.filling)).exists():
        return {}
    return {"filling": f"The site has no segment with the id {definition.filling}."}


def delete_definition(row: CustomData, *, by: User | AnonymousUser | str, now: datetime) -> None:
    """Delete a definition. Values that visitors have stay, and are served no more.

    Raises Http404 if it was deleted meanwhile.
    """
    with transaction.atomic():
        note_configuration_changed(row.site_id, now=now)
        read_again(row)
        old = definition_of(row)
        upkeep.note_custom_data(row.site_id, find_changed_filling(old, None))
        before = msgspec.structs.asdict(old)
        write_audit(by, row.site, f"Deleted the custom data {row.index}", before, None)
        row.delete()


def find_changed_filling(old: Definition | None, new: Definition | None) -> set[int]:
    """Return the indexes whose values Goalpost fills otherwise than before. Pure."""
    before, after = (
        {(each.index, each.filled_from, each.filling) for each in (one,) if each and each.filled_from != Filling.SDK}
        for one in (old, new)
    )
    return {index for index, _, _ in before ^ after}

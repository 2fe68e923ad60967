"""Saving of flags and their segments as a file has them, with a version of each document that changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from goals.flags.models import FeatureFlag, FlagVersion, ImportedSegment

PRODUCTION: Final = "production"  # the environment of SDKs that name none


class Saved(msgspec.Struct, frozen=True):
    """The keys of the flags that were created, changed and left as they were, and the ids of segments that changed."""

    created: Sequence[str]
    changed: Sequence[str]
    unchanged: Sequence[str]
    segments: Sequence[int]


def save_flags(
    site_id: int,
    flags: Sequence[Mapping[str, Any]],
    segments: Sequence[Mapping[str, Any]],
    *,
    environment: str,
    by: str,
    now: datetime,
) -> Saved:
    """Save documents of flags that were read without a problem; others stay.

    `environmentEnabled` of a document switches its flag on or off in this environment alone. Call it in a transaction
    that has locked the configuration of the site.
    """
    known = {flag.key: flag for flag in FeatureFlag.objects.filter(site_id=site_id)}
    created: list[FeatureFlag] = []
    changed: list[FeatureFlag] = []
    switched: list[FeatureFlag] = []
    for found in flags:
        document = {name: value for name, value in found.items() if name != "environmentEnabled"}
        flag = known.get(document["featureKey"])
        if flag is None:
            flag = FeatureFlag(site_id=site_id, key=document["featureKey"], document=document, version=1)
            created.append(flag)
        elif flag.document != document:
            flag.document, flag.version = document, flag.version + 1
            changed.append(flag)
        if (environment in flag.enabled_in) != found["environmentEnabled"]:
            flag.enabled_in = switch(flag.enabled_in, environment, is_on=found["environmentEnabled"])
            switched.append(flag)
    FeatureFlag.objects.bulk_create(created)
    for flag in {flag.pk: flag for flag in (*changed, *switched) if flag not in created}.values():
        flag.save(update_fields=["document", "version", "enabled_in", "updated_at"])
    FlagVersion.objects.bulk_create(
        FlagVersion(
            site_id=site_id, flag=flag, number=flag.version, document=flag.document, saved_by=by[:150], saved_at=now
        )
        for flag in (*created, *changed)
    )
    touched = {flag.key for flag in (*created, *changed, *switched)}
    return Saved(
        created=[flag.key for flag in created],
        changed=[
            flag.key for flag in {flag.key: flag for flag in (*changed, *switched)}.values() if flag not in created
        ],
        unchanged=[found["featureKey"] for found in flags if found["featureKey"] not in touched],
        segments=_save_segments(site_id, segments),
    )


def switch(names: Sequence[str], environment: str, *, is_on: bool) -> list[str]:
    """Return the names of environments with this one, or without it."""
    return sorted({*names, environment} if is_on else {*names} - {environment})


def _save_segments(site_id: int, segments: Sequence[Mapping[str, Any]]) -> list[int]:
    known = {segment.number: segment for segment in ImportedSegment.objects.filter(site_id=site_id)}
    changed = []
    for document in segments:
        segment = known.get(document["id"]) or ImportedSegment(site_id=site_id, number=document["id"])
        if segment.document != document:
            segment.document = document
            segment.save()
            changed.append(document["id"])
    return changed

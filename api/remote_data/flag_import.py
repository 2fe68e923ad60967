"""Import of a configuration file of Kameleoon's SDKs: its flags, segments and custom data, or none of them."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction

from api.models import Site
from api.models.audit import who_of, write_audit
from api.models.sdk_configuration import note_configuration_changed
from api.remote_data.sdk_segments import find_sdk_segments
from cohorts.custom_data import Definition, definition_of, find_problems
from cohorts.models import CustomData
from goals.flags.file import CustomDataEntry, SiteParts, read_file
from goals.flags.models import Environment, FeatureFlag, ImportedSegment
from goals.flags.problems import Problem
from goals.flags.saving import PRODUCTION, Saved, save_flags

WIRE_NAMES = {
    "name": "name",
    "index": "index",
    "is_mapping_identifier": "isMappingIdentifier",
    "is_local_only": "localOnly",
}


class Import(msgspec.Struct, frozen=True):
    """The result of an import. Nothing was saved if there is a problem, or if it only was a try."""

    problems: Sequence[Problem]
    saved: Saved | None = None
    custom_data: Sequence[int] = ()  # indexes that were new
    kept: Sequence[int] = ()  # indexes of custom data that the site has otherwise, which stay


def import_file(
    site: Site,
    text: bytes | str,
    *,
    environment: str,
    actor: User | AnonymousUser | str,
    now: datetime,
    is_try: bool = False,
) -> Import:
    """Import a file into a site, and switch its flags on or off in one environment as the file says.

    Flags of the site that are not in the file stay. 14 queries, and one for each flag and segment that changes.
    """
    with transaction.atomic():
        note_configuration_changed(site.pk, now=now)  # first, so that a concurrent import waits
        result = _import(site, text, environment=environment, actor=actor, now=now)
        if is_try or result.problems:
            transaction.set_rollback(True)
    return result


def _import(
    site: Site, text: bytes | str, *, environment: str, actor: User | AnonymousUser | str, now: datetime
) -> Import:
    if environment != PRODUCTION and not Environment.objects.filter(site=site, name=environment).exists():
        return Import([Problem("environment", f"The site has no environment {environment[:64]}. Create it first.")])
    own = find_sdk_segments(site.pk)
    known = SiteParts(
        own_segments={**dict.fromkeys(own.reasons), **own.own_documents},
        segments=dict(ImportedSegment.objects.filter(site=site).values_list("number", "document")),
        flags=list(FeatureFlag.objects.filter(site=site).values_list("document", flat=True)),
    )
    file = read_file(text, known)
    definitions = {row.index: definition_of(row) for row in CustomData.objects.filter(site=site)}
    new, kept, problems = _read_definitions(file.custom_data, definitions)
    if file.problems or problems:
        return Import([*file.problems, *problems])
    CustomData.objects.bulk_create(CustomData(site=site, **msgspec.structs.asdict(definition)) for definition in new)
    saved = save_flags(site.pk, file.flags, file.segments, environment=environment, by=who_of(actor), now=now)
    result = Import([], saved, [definition.index for definition in new], kept)
    write_audit(actor, site, f"Imported {len(file.flags)} feature flags", None, describe(result, environment))
    return result


def describe(result: Import, environment: str) -> dict[str, object]:
    """Return what an import did, for the audit log."""
    saved = result.saved
    assert saved is not None  # noqa: S101 - an import without a problem
    return {
        "environment": environment,
        "created": list(saved.created),
        "changed": list(saved.changed),
        "segments": list(saved.segments),
        "custom data": list(result.custom_data),
    }


def _read_definitions(
    entries: Sequence[CustomDataEntry], known: dict[int, Definition]
) -> tuple[list[Definition], list[int], list[Problem]]:
    """Return the definitions to add, the indexes that the site defines otherwise, and problems."""
    new: list[Definition] = []
    kept: list[int] = []
    problems: list[Problem] = []
    for number, entry in enumerate(entries):
        wanted = Definition(
            index=entry.index,
            name=entry.name,
            scope=entry.scope,
            is_mapping_identifier=entry.is_mapping_identifier,
            is_local_only=entry.is_local_only,
        )
        there = known.get(entry.index)
        if there is None:
            wrong = find_problems(wanted, [*known.values(), *new])
            problems += [
                Problem(f"customData[{number}].{WIRE_NAMES.get(name, name)}", sentence)
                for name, sentence in wrong.items()
            ]
            new.append(wanted)
        elif not _is_same(there, wanted):
            kept.append(entry.index)
    return new, kept, problems


def _is_same(there: Definition, wanted: Definition) -> bool:
    """Return True if SDKs read both alike."""
    names = ("name", "scope", "is_mapping_identifier", "is_local_only")
    return all(getattr(there, name) == getattr(wanted, name) for name in names)

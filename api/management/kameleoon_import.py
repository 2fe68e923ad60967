"""Import of goals, custom data and segments from Kameleoon, by JSON exports or from a host of its Automation API.

Each row is a transaction of its own, and what exists is left alone. So an import that was interrupted goes on when it
is started again.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeGuard
from urllib.parse import urlencode

from django.db import IntegrityError, connection, transaction

from api.insight.moved_events import note_moved_events
from api.management import segment_import
from api.management.segment_import import ACTOR, Row
from api.models import Site
from api.models.audit import write_audit
from api.remote_data.definitions import WrongDefinitionError, save_definition
from cohorts.custom_data import Definition
from cohorts.models import CustomData
from goals import catalogue
from goals.models import GOAL_NAME_LENGTH, Goal

PER_PAGE: Final = 200
MOST_PAGES: Final = 1_000  # of a list; a host that never ends must not hold the command forever
MOST_ID: Final = 2**53  # SDKs read ids as numbers of JavaScript
GOALS, CUSTOM_DATA, SEGMENTS = "goals.json", "custom-datas.json", "segments.json"
CONFIGURATION: Final = "configuration.json"
Ask = Callable[[str], tuple[Any, Mapping[str, str]]]  # JSON and headers of a path with its query


class UnreadableExportError(Exception):
    """Raised for an export or an answer that is no list of objects."""


@dataclass
class ImportReport:
    """The result of an import, with a line for each row that it left out."""

    created: int = 0
    existed: int = 0
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Export:
    """Goals, custom data and segments as the Automation API shapes them."""

    goals: list[Row]
    custom_data: list[Row]
    segments: list[Row]


def read_directory(directory: Path) -> Export:
    """Return the exports of a directory; a missing file is an empty list. Raises UnreadableExportError, OSError."""
    return Export(*(_read_file(directory / name) for name in (GOALS, CUSTOM_DATA, SEGMENTS)))


def _read_file(path: Path) -> list[Row]:
    if not path.exists():
        return []
    try:
        return _require_rows(json.loads(path.read_bytes()), path.name)
    except ValueError as error:
        raise UnreadableExportError(f"{path.name} is not JSON: {error}") from error


def read_host(ask: Ask, code: str) -> Export:
    """Return what the site with this code has at a host. Raises UnreadableExportError."""
    sites = list(_read_pages(ask, "/sites", _equal("code", code)))
    if not sites:
        raise UnreadableExportError(f"the host has no site {code}, or the credential does not open it")
    of_site = _equal("siteId", str(sites[0].get("id")))
    return Export(*(list(_read_pages(ask, path, of_site)) for path in ("/goals", "/custom-datas", "/segments")))


def _equal(name: str, value: str) -> str:
    return json.dumps([{"field": name, "operator": "EQUAL", "parameters": [value]}])


def _read_pages(ask: Ask, path: str, conditions: str) -> Iterator[Row]:
    for page in range(1, MOST_PAGES + 1):
        answer, headers = ask(f"{path}?{urlencode({'page': page, 'perPage': PER_PAGE, 'filter': conditions})}")
        yield from _require_rows(answer, path)
        if page >= int(headers.get("x-pagination-page-count") or 1):
            return


def _require_rows(value: Any, name: str) -> list[Row]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UnreadableExportError(f"{name} is no list of objects")
    return value


def import_export(site: Site, export: Export, *, now: datetime, is_try: bool) -> ImportReport:
    """Import what a site lacks. With `is_try` everything is rolled back, so that the report says what would happen."""
    report = ImportReport()
    with transaction.atomic() if is_try else nullcontext():
        for row in export.goals:
            _count(report, _import_goal(site, row, now=now), f"goal {row.get('id')}")
        for row in export.custom_data:
            _count(report, _import_custom_data(site, row, now=now), f"custom data {row.get('index')}")
        for name, result in segment_import.import_segments(site, export.segments, export.custom_data, now=now):
            _count(report, result, name)
        if report.created:
            what = f"Imported {report.created} goals, custom data and segments from Kameleoon"
            write_audit(ACTOR, site, what, None, {})
        if is_try:
            transaction.set_rollback(True)
    if export.goals and not is_try:
        _move_sequence_beyond([row["id"] for row in export.goals if _is_id(row.get("id"))])
    return report


def _count(report: ImportReport, result: "str | bool", name: str) -> None:
    """Count a row: True if it was created, False if it existed, a text with the reason if it was left out."""
    if isinstance(result, str):
        report.left_out.append(f"{name}: {result}")
    elif result:
        report.created += 1
    else:
        report.existed += 1


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < MOST_ID


def _import_goal(site: Site, row: Row, *, now: datetime) -> "str | bool":  # noqa: PLR0911 - a reason each
    """Create a goal with the id that SDKs send."""
    id_, name, tags = row.get("id"), row.get("name"), row.get("tags") or []
    if not _is_id(id_):
        return "its id is no positive number"
    if not isinstance(name, str) or not 0 < len(name) <= GOAL_NAME_LENGTH or "\0" in name:
        return f"its name has not 1 to {GOAL_NAME_LENGTH} characters"
    type_ = row.get("type", Goal.Type.CUSTOM)
    if type_ not in Goal.Type.values:
        return f"there is no type {type_}"
    there = Goal.objects.filter(site=site, pk=id_).first()
    if there is not None:
        return "a goal with this id was deleted here" if there.deleted_at else False
    goal = Goal(
        pk=id_,
        site=site,
        name=name,
        type=type_,
        description=str(row.get("description") or "").replace("\0", "\ufffd"),
        has_multiple_conversions=row.get("hasMultipleConversions") is True,
        origin=Goal.Origin.IMPORT,
        archived_at=now if row.get("isArchived") is True or row.get("status") == "INACTIVE" else None,
    )
    try:
        with note_moved_events(goal, template=site.goal_name_template, by=ACTOR, may_move=True):
            catalogue.create_goal(goal, tags=[str(tag)[:100] for tag in tags], template=site.goal_name_template)
    except catalogue.NameTakenError as taken:
        return f"goal {taken.goal_id} has this name already, so that SDKs that send the id {id_} do not convert it"
    except IntegrityError:
        return "a goal of another site has this id"
    return True


def explain_goals(goals: Iterable[Row]) -> list[str]:
    """Return what of these goals Goalpost keeps but does not do. Pure."""
    others = sorted({str(row.get("type")) for row in goals} - {"CUSTOM", "None"})
    if not others:
        return []
    return [f"goals of the types {', '.join(others)}: Goalpost does not watch pages; only SDKs and events convert them"]


def _import_custom_data(site: Site, row: Row, *, now: datetime) -> "str | bool":
    if row.get("isConstant") is True:
        return "constant custom data has no counterpart"
    try:
        definition = Definition(
            index=int(row["index"]),
            name=str(row["name"]),
            description=str(row.get("description") or ""),
            type=row.get("type") or CustomData.Type.UNIQUE,
            format=row.get("format") or CustomData.Format.STRING,
            scope=row.get("scope") or CustomData.Scope.VISITOR,
            is_mapping_identifier=row.get("isMappingIdentifier") is True,
            is_local_only=row.get("isLocalOnly") is True,
        )
    except (KeyError, TypeError, ValueError):
        return "it has no index or no name"
    there = CustomData.objects.filter(site=site, index=definition.index).first()
    if there is not None:
        is_same = (there.name, there.type, there.scope) == (definition.name, definition.type, definition.scope)
        return False if is_same else f"the site defines it otherwise, as {there.name}, and keeps that"
    try:
        save_definition(site, definition, by=ACTOR, now=now)
    except WrongDefinitionError as error:
        return str(error)
    return True


def explain_custom_data(rows: Iterable[Row]) -> list[str]:
    """Return what of these custom data Goalpost keeps but does not do. Pure."""
    others = sorted({str(row.get("method")) for row in rows} - {"SDK", "None"})
    if not others:
        return []
    return [f"custom data by {', '.join(others)}: code of the page fills it at Kameleoon; here an SDK or a trait must"]


def _move_sequence_beyond(ids: Iterable[int]) -> None:
    """Let new goals get ids beyond these. Several servers may share the numbers, so that steps stay as they are."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT setval(s.name::regclass, s.last + s.step * ceil((%(most)s - s.last)::numeric / s.step)::bigint)
              FROM (SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename) AS name,
                           coalesce(last_value, start_value) AS last, increment_by AS step
                      FROM pg_sequences WHERE schemaname = current_schema() AND sequencename = 'goals_goal_id_seq') AS s
             WHERE s.last < %(most)s
            """,
            {"most": max(ids, default=0)},
        )

"""Names and types of the traits that people and groups of a site have, for pickers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from django.db import connection

from cohorts.models import SIZE
from cohorts.segments.value_tests import read_date

MOST_READ: Final = 500  # people or groups, the first by identifier
MOST_BYTES: Final = 8_388_608  # of their registers, some 0.1 s
MOST_PATHS: Final = 500

TraitType = Literal["text", "number", "boolean", "date", "list", "any"]
TYPES: Final[dict[str, TraitType]] = {"string": "text", "number": "number", "boolean": "boolean", "array": "list"}

# Fields of a trait that is an object count like traits.
READ_PATHS: Final = """
WITH read AS MATERIALIZED (
    SELECT registers -> 'traits' AS traits FROM (
        SELECT registers, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS so_far FROM ({rows}) AS first
    ) AS sized WHERE so_far <= %(bytes)s
), trait AS (
    SELECT ARRAY[t.key] AS path, t.value -> 3 AS value
      FROM read, jsonb_each(CASE jsonb_typeof(read.traits) WHEN 'object' THEN read.traits ELSE '{{}}' END) AS t
), field AS (
    SELECT path, value FROM trait
     UNION ALL
    SELECT trait.path || f.key, f.value
      FROM trait, jsonb_each(CASE jsonb_typeof(trait.value) WHEN 'object' THEN trait.value ELSE '{{}}' END) AS f
)
SELECT path, jsonb_typeof(value) AS type, min(left(value #>> '{{}}', 40)) FROM field
 WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean', 'array')
 GROUP BY path, type ORDER BY count(*) DESC, path LIMIT %(most)s
"""
OF_PEOPLE: Final = f"""
    SELECT i.registers, {SIZE} AS size FROM cohorts_identity i WHERE i.site_id = %(site)s
     ORDER BY i.kind, i.value LIMIT %(read)s
"""
OF_GROUPS: Final = f"""
    SELECT i.registers, {SIZE} AS size FROM cohorts_group i WHERE i.site_id = %(site)s
     ORDER BY i.group_id LIMIT %(read)s
"""


@dataclass(frozen=True, slots=True)
class SeenTrait:
    """A trait, or a field of one, and the type of most of its values."""

    path: tuple[str, ...]
    type: TraitType


def find_traits_of_people(site_id: int) -> list[SeenTrait]:
    """Return traits of the first people of a site by path. One query."""
    return _find(site_id, OF_PEOPLE)


def find_traits_of_groups(site_id: int) -> list[SeenTrait]:
    """Return traits of the first groups of a site by path. One query."""
    return _find(site_id, OF_GROUPS)


def _find(site_id: int, rows: str) -> list[SeenTrait]:
    with connection.cursor() as cursor:
        cursor.execute(
            READ_PATHS.format(rows=rows),
            {"site": site_id, "read": MOST_READ, "bytes": MOST_BYTES, "most": MOST_PATHS},
        )
        return name_types(cursor.fetchall())


def name_types(rows: Sequence[tuple[list[str], str, Any]]) -> list[SeenTrait]:
    """Return traits by path from rows of path, type in JSON and an example, the most frequent first. Pure."""
    found: dict[tuple[str, ...], SeenTrait] = {}
    for names, json_type, example in rows:
        path = tuple(names)
        is_date = json_type == "string" and read_date(example) is not None
        found.setdefault(path, SeenTrait(path, "date" if is_date else TYPES.get(json_type, "any")))
    return [found[path] for path in sorted(found)]

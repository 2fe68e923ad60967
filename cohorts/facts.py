"""Facts of many people in one query: a few registers of each, joined as remote data joins them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec
from django.db import connection

from cohorts import merge, remote_data

MOST_POINTING: Final = 20  # identities that point at one and are read; remote data reads more of one person
MOST_OF_PERSON: Final = 100  # identities, the nearest to the id
MOST_BYTES: Final = 67_108_864  # of registers that are read: some 1 s

Path = tuple[str, ...]  # of a register: ("group",), ("traits", "plan"); or of all of a map: ("personas",)


def find_facts(site_id: int, ids: Sequence[str], paths: Sequence[Path]) -> dict[str, merge.Registers]:
    """Return the joined registers of each id's person under these paths. Unknown ids are left out.

    An id is looked up as user, then visitor, then anonymous id, and its person is that of remote data. One query,
    about 50 µs an id. Identities that exceed 64 MiB, all together, are left out.
    """
    columns = ", ".join(f"(i.registers #> %(path_{number})s)::text" for number in range(len(paths)))
    said = defaultdict[str, list[merge.Registers]](list)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            {remote_data.WALK_PEOPLE}
            SELECT person.place, facts.*
              FROM (SELECT place, row, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS so_far FROM person) AS person,
                   LATERAL (
                    SELECT {columns} FROM cohorts_identity i WHERE i.site_id = %(site)b AND i.ctid = person.row OFFSET 0
                   ) AS facts
             WHERE person.so_far <= {MOST_BYTES}
            """,
            {
                **remote_data.parameters(site_id, ids),
                "most": MOST_POINTING,
                "in_all": MOST_OF_PERSON,
                **{f"path_{number}": list(path) for number, path in enumerate(paths)},
            },
        )
        for place, *texts in cursor.fetchall():
            found = said[ids[place - 1]]
            for path, text in zip(paths, texts, strict=True):
                if text is not None:
                    register = msgspec.json.decode(text)
                    found.append({path[0]: {path[1]: register} if len(path) > 1 else register})
    return {id_: merge.join(registers) for id_, registers in said.items()}

"""Registers of the person behind an id, for endpoints that derive something from them."""

from typing import Final

import msgspec

from api.remote_data import map_reads
from cohorts import merge
from cohorts.remote_data import LargePerson, Lookup, SegmentsOf

PATIENCE: Final = 5.0  # seconds


async def read_person(site_id: int, id_: str) -> merge.Registers:
    """Return the joined registers of a person, empty for an unknown one. One or two SQL statements."""
    lookup: Lookup = (site_id, id_)
    rows = await map_reads.batcher().call([lookup], timeout=PATIENCE)
    if rows[lookup] is None:
        large = LargePerson(lookup, traits=None, has_personas=True)
        rows = await map_reads.batcher_of_large().call([large], timeout=PATIENCE)
    return merge.join(msgspec.json.decode(text) for text in rows[lookup] or ())


async def read_memberships(site_id: int, id_: str) -> dict[str, bool]:
    """Return the memberships of a person by the name of the segment, empty for an unknown one. One SQL statement."""
    lookup: Lookup = (site_id, SegmentsOf(id_))
    rows = await map_reads.batcher().call([lookup], timeout=PATIENCE)
    found: dict[str, bool] = msgspec.json.decode((rows[lookup] or ["{}"])[0])
    return found

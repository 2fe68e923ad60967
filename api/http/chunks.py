"""Chunks of rows, bounded in number and bytes, for every read of many bodies."""

from collections.abc import Iterable, Iterator
from typing import Final

from django.db.models import F, Func, IntegerField

CHUNK_ROWS: Final = 500
# Of bodies: nested `{"":{"":{}}}` takes 34 times as much as Python objects.
CHUNK_BYTES: Final = 4_194_304
BODY_BYTES: Final = Func(F("body"), function="octet_length", output_field=IntegerField())  # does not read large bodies


def iter_chunks(sizes: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Yield the ids of rows, given with their bytes, in chunks of CHUNK_BYTES at most, or of one larger row."""
    chunk: list[int] = []
    total = 0
    for id_, size in sizes:
        if chunk and (len(chunk) >= CHUNK_ROWS or total + size > CHUNK_BYTES):
            yield chunk
            chunk, total = [], 0
        chunk.append(id_)
        total += size
    if chunk:
        yield chunk

"""Chunks of rows, bounded in number and bytes, for every read of many bodies."""

from collections.abc import Iterable, Iterator
from typing import Final

CHUNK_ROWS: Final = 500
# Of bodies: nested `{"":{"":{}}}` takes 34 times as much as Python objects.
CHUNK_BYTES: Final = 4_194_304


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

"""CPU and memory of process trees, read from /proc."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MEGABYTE = 2**20
CPU_FIELDS = slice(11, 15)  # utime, stime, and both of children that ended; after the name of the program
PARENT = 1


def tree(root: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (process id, fields of its stat behind the name) of a process and all that descend from it."""
    stats = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile
            stats[int(directory.name)] = (directory / "stat").read_text().rpartition(")")[2].split()
    family = {root}
    # A child may have a smaller id than its parent after ids have wrapped around.
    while more := {pid for pid, fields in stats.items() if int(fields[PARENT]) in family} - family:
        family |= more
    for pid in sorted(family & stats.keys()):
        yield pid, stats[pid]


def cpu_seconds(root: int) -> float:
    """Return the CPU seconds of a process tree so far, with those of children that ended."""
    return sum(sum(map(int, fields[CPU_FIELDS])) for _, fields in tree(root)) / TICKS


def resident(root: int) -> list[float]:
    """Return the resident memory in MB of each process of a tree, the root first."""
    sizes = []
    for pid, _ in tree(root):
        with suppress(OSError):
            sizes.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / MEGABYTE)
    return sizes

"""Figures with their yardsticks: printing, and storing for the table of `make bench`."""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value. The yardstick has the same unit, and only their ratio compares between machines."""

    what: str
    value: float
    unit: str
    yardstick: float | None = None
    of: str = ""  # name of the yardstick
    floor: str = ""
    aim: str = ""

    @property
    def ratio(self) -> str:
        return f"{self.value / self.yardstick:.2f}" if self.yardstick else ""

    @property
    def measured(self) -> float:
        """Return the ratio to the yardstick, or the value if there is none."""
        return self.value / self.yardstick if self.yardstick else self.value


HEADS = ("figure", "value", "unit", "yardstick", "ratio", "of", "floor", "aim")


def print_table(figures: Sequence[Figure], last: Sequence[Figure] = ()) -> None:
    """Print figures, and behind each how much it is of the last run's."""
    rows = [HEADS, *map(format_cells, figures)]
    if last:
        known = {(figure.what, figure.of): figure.measured for figure in last}
        before = [known.get((figure.what, figure.of)) for figure in figures]
        changes = [
            f"{figure.measured / then:.2f}" if then else "" for figure, then in zip(figures, before, strict=True)
        ]
        rows = [(*row, change) for row, change in zip(rows, ["of the last run", *changes], strict=True)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        pairs = enumerate(zip(row, widths, strict=True))
        line = "  ".join(
            f"{cell:>{width}}" if column in {1, 3, 4} else f"{cell:{width}}" for column, (cell, width) in pairs
        )
        print(line.rstrip())


def format_cells(figure: Figure) -> tuple[str, ...]:
    yardstick = "" if figure.yardstick is None else spell(figure.yardstick)
    return (
        *(figure.what, spell(figure.value), figure.unit, yardstick),
        *(figure.ratio, figure.of, figure.floor, figure.aim),
    )


def spell(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the argument parser of a bench with the common option `--json`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="append one line of JSON per figure to this file")
    return parser


def publish(figures: Sequence[Figure], path: Path | None) -> None:
    """Print figures, and append them to a file."""
    print_table(figures)
    if path is not None:
        with path.open("a") as file:
            file.writelines(f"{json.dumps(asdict(figure))}\n" for figure in figures)


def load(path: Path) -> list[Figure]:
    """Return the figures of a file, none if it does not exist."""
    return [Figure(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def save(figures: Sequence[Figure], path: Path) -> None:
    """Write a file of figures. Of several with one name the last one stays."""
    latest = {(figure.what, figure.of): figure for figure in figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(asdict(figure))}\n" for figure in latest.values()))


def describe_machine(connection: psycopg.Connection[Any]) -> str:
    """Return the machine and versions that the figures come from, and the load at the start."""
    model = next(
        (line.partition(":")[2].strip() for line in cpuinfo() if line.startswith("model name")), platform.machine()
    )
    row = connection.execute("SHOW server_version").fetchone()
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, Python {platform.python_version()}, "
        f"PostgreSQL {row[0] if row else '?'}, load {os.getloadavg()[0]:.1f} at the start"
    )


def cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that is not exceeded by this percentage of the values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(len(ordered) * percent / 100 + 0.5) - 1))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)

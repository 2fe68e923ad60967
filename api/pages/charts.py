"""Charts as values: drawn by api/charts.js, told by a table (pages/chart.html)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

Tone = Literal["", "warn", "bad", "strong"]  # a colour of pages.css, for what it means; else the next shade


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one line, or of one kind of bars; a value for each label."""

    label: str
    values: Sequence[float]
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart shows over its labels."""

    labels: Sequence[str]
    series: Sequence[Series]
    unit: str = "Time"  # what a label is, the head of the table's first column
    type: str = "bar"  # or line
    stacked: bool = False

    @property
    def json(self) -> str:
        """For the canvas's `data-chart`."""
        series = [{"label": each.label, "values": list(each.values), "tone": each.tone} for each in self.series]
        return msgspec.json.encode(
            {"type": self.type, "labels": list(self.labels), "series": series, "stacked": self.stacked}
        ).decode()

    @property
    def rows(self) -> list[tuple[str, list[float]]]:
        """(label, the values under it)."""
        return [(label, [each.values[place] for each in self.series]) for place, label in enumerate(self.labels)]

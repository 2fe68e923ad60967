"""Charts as values. api/charts.js draws them, and pages/chart.html adds a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

Tone = Literal["", "good", "warn", "bad", "strong"]  # a colour of pages.css, or the next shade


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one line, or of one kind of bars; a value for each label."""

    label: str
    values: Sequence[float]
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its labels and the series over them."""

    labels: Sequence[str]
    series: Sequence[Series]
    unit: str = "Time"  # the head of the table's first column
    type: str = "bar"  # or line
    stacked: bool = False

    @property
    def json(self) -> str:
        """The value of the canvas's `data-chart`."""
        series = [{"label": row.label, "values": list(row.values), "tone": row.tone} for row in self.series]
        return msgspec.json.encode(
            {"type": self.type, "labels": list(self.labels), "series": series, "stacked": self.stacked}
        ).decode()

    @property
    def rows(self) -> list[tuple[str, list[float]]]:
        """The rows of the table: a label and its values."""
        return [(label, [series.values[place] for series in self.series]) for place, label in enumerate(self.labels)]

"""Charts as values. api/charts.js draws them, and pages/chart.html adds a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import msgspec

Tone = Literal["", "good", "warn", "bad", "strong"]  # a colour of pages.css, or the next shade
# That of the compared period is a pale line. A further one is hidden until its label is clicked.
SeriesRole = Literal["", "before", "further"]


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one line, or of one kind of bars; a value for each label."""

    label: str
    values: Sequence[float | None]  # None: the figure has no meaning there
    tone: Tone = ""
    role: SeriesRole = ""
    is_rate: bool = False  # in per cent, on an axis of its own


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its labels and the series over them."""

    labels: Sequence[str]
    series: Sequence[Series]
    unit: str = "Time"  # the head of the table's first column
    type: str = "bar"  # or line
    stacked: bool = False
    ticks: Sequence[str] = ()  # short labels of the axis
    titles: Sequence[str] = ()  # long ones, with the weekday
    is_running: bool = False  # the last step is not over
    marks: Sequence[tuple[int, str]] = ()  # annotations: the place of a label, and a text
    links: Sequence[str] = ()  # where a click on each step leads
    days: Sequence[tuple[date, date]] = ()  # the first and last of each step, if they may become the page's range
    limit: tuple[str, float] | None = None  # a level across the chart, with its label

    @property
    def json(self) -> str:
        """The value of the canvas's `data-chart`."""
        chart: dict[str, Any] = {
            "type": self.type,
            "labels": list(self.ticks or self.labels),
            "series": [
                {
                    "label": row.label,
                    "values": list(row.values),
                    "tone": row.tone,
                    "role": row.role,
                    "rate": row.is_rate,
                }
                for row in self.series
            ],
            "stacked": self.stacked,
            "titles": list(self.titles),
            "running": self.is_running,
            "marks": [{"at": at, "text": text} for at, text in self.marks],
            "links": list(self.links),
            "days": [[str(first), str(last)] for first, last in self.days],
            "limit": {"label": self.limit[0], "value": self.limit[1]} if self.limit else None,
        }
        return msgspec.json.encode(chart).decode()

    @property
    def rows(self) -> list[tuple[str, list[tuple[str, float | None]], str, str]]:
        """The rows of the table: a label, its values by series, its link or an empty text, and its annotations."""
        links = self.links or [""] * len(self.labels)
        notes: dict[int, list[str]] = {}
        for place, text in self.marks:
            notes.setdefault(place, []).append(text)
        return [
            (
                label,
                [(series.label, series.values[place]) for series in self.series],
                links[place],
                "; ".join(notes.get(place, ())),
            )
            for place, label in enumerate(self.labels)
        ]

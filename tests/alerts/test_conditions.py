"""Tables of figures with the alert conditions that hold for them."""

from collections import Counter
from datetime import timedelta

import pytest

from api.alerts import conditions
from api.ingest.source_counts import SourceCounts
from api.insight.delivery import Lag, Outcomes
from api.insight.site_status import QuotaHeadroom, SourceState
from goals.quota import Window
from tests.world import START


def outcomes(**counts: int) -> Outcomes:
    return Outcomes(sum(counts.values()), None, is_cut=False, by_time={}, by_source={1: Counter(counts)}, reasons=[])


@pytest.mark.parametrize(
    ("counts", "percent", "holds"),
    [
        ({}, 95, False),
        ({"pending": 9, "deferred": 9}, 95, False),  # no event is processed yet
        ({"converted": 95, "failed": 5}, 95, False),  # equal to the threshold
        ({"converted": 94, "failed": 6}, 95, True),
        ({"converted": 90, "done": 2, "ignored": 3, "rejected": 2, "failed": 3}, 95, False),
        ({"converted": 90, "done": 2, "ignored": 2, "rejected": 3, "failed": 3}, 95, True),
        ({"converted": 94, "failed": 6, "pending": 1000}, 95, True),  # waiting events are no successes
        ({"rejected": 1}, 0.5, True),
        ({"done": 1}, 100, False),
        ({"done": 49_999, "failed": 1}, 100, True),
    ],
)
def test_success__of_these_outcomes__holds_under_the_rate(
    *, counts: dict[str, int], percent: float, holds: bool
) -> None:
    finding = conditions.judge_success(outcomes(**counts), percent=percent)

    assert finding.holds is holds
    if holds:
        assert "100 %" not in finding.sentence


@pytest.mark.parametrize(
    ("p95", "waits", "seconds", "holds"),
    [
        (None, None, 1, False),
        (4.9, 4.9, 5, False),
        (5, 5, 5, False),
        (5.1, None, 5, True),
        (None, 5.1, 5, True),  # the digest has stopped
        (0.1, 60, 5, True),
    ],
)
def test_lag__of_what_was_digested_and_waits__holds_over_the_seconds(
    *, p95: float | None, waits: float | None, seconds: float, holds: bool
) -> None:
    lag = Lag(10, p50=0, p95=p95, p99=1000) if p95 is not None else Lag(0)
    oldest = START - timedelta(seconds=waits) if waits is not None else None

    assert conditions.judge_lag(lag, oldest, seconds=seconds, now=START).holds is holds


def source(number: int, minutes: float | None, *, is_enabled: bool = True) -> SourceState:
    last = START - timedelta(minutes=minutes) if minutes is not None else None
    return SourceState(number, f"Source {number}", is_enabled, SourceCounts(1, 0, 0, last) if last else SourceCounts())


@pytest.mark.parametrize(
    ("sources", "source_id", "silent"),
    [
        ([], None, []),
        ([source(1, 9.9), source(2, 10)], None, []),
        ([source(1, 9), source(2, 10.1)], None, [2]),
        ([source(1, 9), source(2, 10.1)], 1, []),
        ([source(1, 9), source(2, 10.1)], 2, [2]),
        ([source(1, None)], None, []),  # it never sent an event, and the alert does not name it
        ([source(1, None), source(2, 11)], 1, [1]),
        ([source(1, 99, is_enabled=False)], None, []),
        ([source(1, 99, is_enabled=False)], 1, []),
        ([source(1, 11), source(2, 12), source(3, 1)], None, [1, 2]),
    ],
)
def test_silence__of_these_sources__names_the_silent(
    sources: list[SourceState], source_id: int | None, silent: list[int]
) -> None:
    finding = conditions.judge_silence(sources, source_id=source_id, minutes=10, now=START)

    assert finding.holds is bool(silent)
    assert [source.id for source in sources if f"“{source.name}”" in finding.sentence] == silent


@pytest.mark.parametrize(
    ("left", "waiting", "holds"),
    [((50, 1000), 0, False), ((1, 1), 0, False), ((0, 1), 0, True), ((1, 0), 0, True), ((50, 1000), 3, True)],
)
def test_quota__of_these_rooms__holds_when_one_is_full_or_events_wait(
    *, left: tuple[int, int], waiting: int, holds: bool
) -> None:
    spans = (timedelta(seconds=10), timedelta(hours=1))
    rooms = [QuotaHeadroom(Window(1000, span), count) for span, count in zip(spans, left, strict=True)]

    assert conditions.judge_quota(rooms, waiting).holds is holds


@pytest.mark.parametrize(
    ("rate", "shown"), [(None, ""), (100.0, "100"), (99.9999, "99.99"), (99.5, "99.5"), (90.0, "90"), (0.0, "0")]
)
def test_percent__of_a_rate__is_never_rounded_up_to_all(rate: float | None, shown: str) -> None:
    assert conditions.show_percent(rate) == shown

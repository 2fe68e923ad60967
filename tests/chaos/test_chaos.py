"""The scenarios of `make chaos` on a small scale."""

import random
from collections.abc import Iterator

import pytest

from tests.chaos.scenarios import SHORT
from tests.chaos.stack import Stack, running_stack

pytestmark = pytest.mark.xdist_group("chaos")  # one stack for all, and its starts take both cores of a small machine


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("chaos")) as stack:
        yield stack


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param("once", marks=pytest.mark.promise("N-01", "N-02", "K-30", "K-31", "W11")),
        pytest.param("killers", marks=pytest.mark.promise("N-02")),
        pytest.param("outages", marks=pytest.mark.promise("N-02", "K-30", "K-83")),
        "lock",
        "frozen",
        "clock",
    ],
)
def test_goalpost__killed_poisoned_or_starved__counts_all_and_recovers(stack: Stack, scenario: str) -> None:
    ledger = SHORT[scenario](stack, random.Random(scenario))

    assert not ledger.differences, f"\n{ledger}"


@pytest.mark.parametrize("scenario", ["disk", "child", "key"])
def test_goalpost__faults_of_a_machine__lose_nothing(stack: Stack, scenario: str) -> None:
    ledger = SHORT[scenario](stack, random.Random(scenario))

    assert not ledger.differences, f"\n{ledger}"

"""The scenarios of `make chaos` on a small scale."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.chaos.faults import can_mount
from tests.chaos.scenarios import SHORT
from tests.chaos.stack import FAKETIME, Stack, running_stack


def needs(condition: bool, reason: str) -> pytest.MarkDecorator:  # noqa: FBT001
    """Skip a scenario that this machine cannot run, except in CI."""
    return pytest.mark.skipif(not condition and "CI" not in os.environ, reason=reason)


pytestmark = pytest.mark.xdist_group("chaos")  # they share one stack, and its starts take both cores of a small machine


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
        pytest.param("clock", marks=needs(FAKETIME is not None, "libfaketime is not installed")),
    ],
)
def test_goalpost__killed_poisoned_or_starved__counts_all_and_recovers(stack: Stack, scenario: str) -> None:
    ledger = SHORT[scenario](stack, random.Random(scenario))

    assert not ledger.differences, f"\n{ledger}"


@pytest.mark.parametrize(
    "scenario",
    [pytest.param("disk", marks=needs(can_mount(), "no right to mount a small file system")), "child", "key"],
)
def test_goalpost__faults_of_a_machine__lose_nothing(stack: Stack, scenario: str) -> None:
    ledger = SHORT[scenario](stack, random.Random(scenario))  # each scenario starts a stack of its own

    assert not ledger.differences, f"\n{ledger}"

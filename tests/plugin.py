"""Pytest plugin that starts the servers of the tests and reports which promises have a test.

Loaded by `-p tests.plugin` (pyproject.toml), because pytest-django reads the settings before any conftest.py runs.
"""

import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest
from _pytest.nodeid import NodeId

from api.runtime.embedded import servers
from api.runtime.processes import claim
from tests.migrated_cluster import TEMPLATE, copy_cluster

CHECKLIST = Path(__file__).with_name("promises.txt")
ADDRESSES = ("DATABASE_URL", "REDIS_URL")
pytest.register_assert_rewrite("tests.support")  # so that a failed assertion of a helper shows its values
started = ExitStack()
atexit.register(started.close)  # for a run that ends before pytest could unconfigure


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Set the environment for this process and, in a distributed run, for the workers that inherit it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        options = early_config.known_args_namespace
        without_servers = options.collectonly or options.promises or options.help or options.version
        prepare(wanted=[] if without_servers else [name for name in ADDRESSES if name not in os.environ])
    else:  # each worker has its own Valkey database; pytest-django does the same for PostgreSQL
        number = int(worker.removeprefix("gw")) + 1
        os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].rpartition('/')[0]}/{number}"
    return (yield)


def prepare(*, wanted: list[str]) -> None:
    # Many containers forbid bytecode. Each of the processes that tests start would compile all modules again.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    directory = Path(tempfile.mkdtemp(prefix="goalpost-tests-"))
    started.callback(shutil.rmtree, directory, ignore_errors=True)
    os.environ["GOALPOST_DATA_DIR"] = str(directory)
    os.environ["GOALPOST_SECRET_KEY"] = "only for tests"
    if "DATABASE_URL" in wanted:
        copy_cluster(directory)
        os.environ["TESTS_TEMPLATE"] = TEMPLATE
    if wanted:
        lock = started.enter_context(claim(directory))
        running = started.enter_context(servers(directory, lock=lock, wanted=wanted, throwaway=True))
        os.environ.update(running.environment)


@pytest.hookimpl(tryfirst=True)  # xdist has one of its own, which would answer before this one
def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are cores: many tests wait for a clock, a browser or another process."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the group of a test in its id, by which `--dist loadgroup` sends a whole group to one worker.

    pytest-xdist 3.8 does so by an attribute that pytest 9.2 no longer reads, so that every worker would start what one
    group shares.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    for item in items:
        group = item.get_closest_marker("xdist_group")
        if group is not None:
            item._id = NodeId.parse(f"{item.nodeid}@{group.args[0]}")


def pytest_unconfigure() -> None:
    started.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--promises", action="store_true", help="each promise and the tests that prove it")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if config.option.promises:
        config.option.collectonly = True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()  # modules and tests stay; with the usual threshold, collections take twice the CPU
    gc.set_threshold(20_000, 20, 20)
    if session.config.getoption("--promises"):
        print(report(read_checklist(), proofs(session.items)))
        session.items = []  # otherwise pytest lists all tests


def proofs(items: Iterable[pytest.Item]) -> dict[str, list[str]]:
    """Return the tests of each promise. The cases of one parametrised function count once."""
    tests: defaultdict[str, list[str]] = defaultdict(list)
    for item in items:
        test = item.nodeid.partition("[")[0]
        for promise in chain.from_iterable(mark.args for mark in item.iter_markers("promise")):
            if test not in tests[promise]:
                tests[promise].append(test)
    return tests


def read_checklist() -> dict[str, str]:
    """Return the text of every promise by its number."""
    lines = CHECKLIST.read_text().splitlines()
    return {number: text for number, _, text in (line.partition(" ") for line in lines)}


def report(promises: dict[str, str], proofs: dict[str, list[str]]) -> str:
    lines: list[str] = []
    for promise, text in promises.items():
        lines.append(f"{promise:5} {'proved' if promise in proofs else 'open  '}  {text}")
        lines += [f"{'':14}{test}" for test in proofs.get(promise, [])]
    return "\n".join([*lines, "", f"{len(promises.keys() & proofs.keys())} of {len(promises)} promises have a test"])

"""Before anything reads the settings: real servers for the tests. After the collection: which promises are proved.

Loaded by `-p tests.plugin` (pyproject.toml), because pytest-django reads the settings before any conftest.py runs.
"""

import atexit
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.embedded import servers
from api.processes import claim

CHECKLIST = Path(__file__).with_name("promises.txt")
ADDRESSES = ("DATABASE_URL", "REDIS_URL")
started = ExitStack()
atexit.register(started.close)  # for a run that ends before pytest could unconfigure


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Set the environment for this process and, in a distributed run, for the workers that inherit it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        options = early_config.known_args_namespace
        without_servers = options.collectonly or options.help or options.version
        prepare(wanted=[] if without_servers else [name for name in ADDRESSES if name not in os.environ])
    else:  # one worker's queues and throttles are no other's business; pytest-django does the same for PostgreSQL
        number = int(worker.removeprefix("gw")) + 1
        os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].rpartition('/')[0]}/{number}"
    return (yield)


def prepare(*, wanted: list[str]) -> None:
    directory = Path(tempfile.mkdtemp(prefix="goalpost-tests-"))
    started.callback(shutil.rmtree, directory, ignore_errors=True)
    os.environ["GOALPOST_DATA_DIR"] = str(directory)
    os.environ["GOALPOST_SECRET_KEY"] = "only for tests"
    if wanted:
        lock = started.enter_context(claim(directory))
        running = started.enter_context(servers(directory, lock=lock, wanted=wanted, throwaway=True))
        os.environ.update(running.environment)


def pytest_unconfigure() -> None:
    started.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--promises", action="store_true", help="each promise and the tests that prove it")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Print the checklist with its proofs, and refuse a test that names a promise nobody made."""
    proofs: defaultdict[str, list[str]] = defaultdict(list)
    for item in session.items:
        for mark in item.iter_markers("promise"):
            for promise in mark.args:
                proofs[promise].append(item.nodeid.partition("[")[0])
    promises = dict(line.split(maxsplit=1) for line in CHECKLIST.read_text().splitlines())
    if unknown := sorted(proofs.keys() - promises.keys()):
        raise pytest.UsageError(f"not in {CHECKLIST.name}: {', '.join(unknown)} ({proofs[unknown[0]][0]})")
    if session.config.getoption("--promises"):
        print(report(promises, proofs))


def report(promises: dict[str, str], proofs: dict[str, list[str]]) -> str:
    lines: list[str] = []
    for promise, text in promises.items():
        lines.append(f"{promise:5} {'proved' if promise in proofs else 'open  '}  {text}")
        lines.extend(f"      {'':6}    {test}" for test in dict.fromkeys(proofs.get(promise, [])))
    missing = [promise for promise in promises if promise not in proofs]
    lines.append(f"\n{len(promises) - len(missing)} of {len(promises)} proved; open: {' '.join(missing) or 'none'}")
    return "\n".join(lines)

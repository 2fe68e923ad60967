"""Temporary servers, web servers, worker and beat of one or two checkouts, with the settings of `make run`."""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import psycopg
from celery import Celery

from api.management.commands.up import STOP_SIGNALS, interrupt_once
from api.runtime.embedded import free_port
from api.runtime.processes import Child, claim, start, stop
from tests.bench.costs import cpu_seconds

Link = psycopg.Connection[Any]
ROOT = Path(__file__).resolve().parents[2]
HOST = Path(__file__).with_name("host.py")
CLIENT_ID, SECRET, SITECODE, WRITE_KEY = "demo_client", "demo_secret", "1q2w3e4r5t", "bench_write_key"
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "api.settings",
    "GOALPOST_SECRET_KEY": "only for the bench",
    "GOALPOST_INBOX_LIMIT": "100000000",
    "GOALPOST_API_REQUESTS_PER_MINUTE": "100000000",
    "GOALPOST_SITECODE": SITECODE,
    "GOALPOST_CLIENT_ID": CLIENT_ID,
    "GOALPOST_CLIENT_SECRET": SECRET,
    "GOALPOST_WRITE_KEY": WRITE_KEY,
}
# The yardstick for HTTP never changes, so that ratios to it compare with those of other versions.
HELLO = [
    *(sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws", "--log-level", "error"),
    *("--host", "127.0.0.1", "--port", "0", "--workers", "1", "--blocking-threads", "64"),
    "tests.bench.hello:application",
]
READY_SECONDS = 60.0
STOP_SECONDS = 8.0  # a worker finishes its batch first
INBOX = r"""
SELECT relname FROM pg_class WHERE relname LIKE 'api\_message%' AND relkind IN ('r', 'p') AND NOT relispartition
"""
SIZE = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'm')
"""


@dataclass(frozen=True, slots=True)
class Web:
    """A running web server."""

    port: int
    child: Child

    def cpu(self) -> float:
        """Return the CPU seconds of its processes so far."""
        return cpu_seconds(self.child.process.pid)


@dataclass(frozen=True, slots=True)
class Worker:
    """A running Celery worker with beat."""

    stage: "Stage"
    worker: Child
    beat: Child

    def cpu(self) -> float:
        """Return the CPU seconds of the worker's processes so far."""
        return cpu_seconds(self.worker.process.pid)

    def pause(self) -> None:
        """Stop worker and beat where they are, so that events wait."""
        for child in (self.beat, self.worker):
            os.killpg(child.process.pid, signal.SIGSTOP)

    def go_on(self, nudges: int = 1) -> None:
        """Continue worker and beat, and send a number of nudges."""
        for child in (self.worker, self.beat):
            os.killpg(child.process.pid, signal.SIGCONT)
        for _ in range(nudges):
            self.stage.celery().send_task("api.tasks.digest", queue="goalpost", expires=10, retry=False)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause during the block."""
        self.pause()
        try:
            yield
        finally:
            self.go_on(nudges=0)


@dataclass(frozen=True, slots=True)
class Stage:
    """Migrated servers of a checkout, with one empty site."""

    name: str
    checkout: Path
    directory: Path
    lock: int
    environment: Mapping[str, str]
    commands: Mapping[str, list[str]]
    postgresql: int
    site_id: int
    source_id: int

    def connect(self) -> Link:
        """Return an autocommit connection that pg_stat_statements ignores."""
        connection = psycopg.connect(self.environment["DATABASE_URL"], autocommit=True)
        connection.execute("SET pg_stat_statements.track = 'none'")
        return connection

    def scalar(self, sql: str, *parameters: Any) -> Any:
        """Return the single value of a query."""
        with self.connect() as connection:
            row = connection.execute(sql, parameters).fetchone()
            return row[0] if row else None

    def count(self, status: str) -> int:
        """Return the number of messages of a status."""
        return int(self.scalar("SELECT count(*) FROM api_message WHERE status = %s", status))

    def size(self) -> int:
        """Return the bytes of all tables with their indexes."""
        return int(self.scalar(SIZE))

    def cpu(self) -> float:
        """Return the CPU seconds of PostgreSQL so far."""
        return cpu_seconds(self.postgresql)

    def celery(self) -> Celery:
        """Return a Celery application that shares the broker and knows no tasks."""
        return Celery("bench", broker=self.environment["REDIS_URL"])

    def admin_session(self) -> str:
        """Return the key of a new session of the administrator. Only the stage of this checkout has one."""
        from django.contrib.auth import get_user_model
        from django.test import Client

        client = Client()
        client.force_login(get_user_model().objects.get(is_superuser=True))
        return client.cookies["sessionid"].value

    def empty_inbox(self) -> None:
        """Delete all messages. No worker may run."""
        with self.connect() as connection:
            connection.execute(f"TRUNCATE {', '.join(self.inbox_tables())}")

    def inbox_tables(self) -> list[str]:
        """Return the tables of messages, of whatever version. Partitions follow their table."""
        with self.connect() as connection:
            return [row[0] for row in connection.execute(INBOX).fetchall()]

    @contextmanager
    def running(self, name: str, command: Sequence[str], *, cwd: Path) -> Iterator[Child]:
        """Run a process during the block. Exit if it ends before the block."""
        log = self.directory / f"{name}.log"
        environment = {**os.environ, **self.environment}
        with log.open("ab") as output:
            child = start(name, command, lock=self.lock, env=environment, cwd=cwd, output=output)
        try:
            yield child
            if child.process.poll() is not None:
                sys.exit(f"{name} ended by itself: {log.read_text(errors='replace')[-2000:]}")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGCONT)  # a paused one would not hear of its end
            stop([child], within=STOP_SECONDS)

    @contextmanager
    def _web(self, name: str, command: Sequence[str], path: str, *, cwd: Path, **options: int) -> Iterator[Web]:
        """Run a web server's command with other options on a free port, and wait until it answers at `path`."""
        port, changed = free_port(), [*command]
        for option, value in {"port": port, **options}.items():
            changed[changed.index(f"--{option.replace('_', '-')}") + 1] = str(value)
        with self.running(name, changed, cwd=cwd) as child:
            self.wait_until(lambda: answers(f"http://127.0.0.1:{port}{path}"), f"{name} to answer")
            yield Web(port, child)

    def hello(self, *, workers: int = 1, threads: int = 64) -> Any:
        """Run the yardstick for HTTP: a bare Django view."""
        return self._web("hello", HELLO, "/hello", cwd=ROOT, workers=workers, blocking_threads=threads)

    def goalpost(self, *, workers: int = 1) -> Any:
        """Run the web server of the product."""
        return self._web("web", self.commands["web"], "/health/ready", cwd=self.checkout, workers=workers)

    @contextmanager
    def worker(self, processes: int = 1) -> Iterator[Worker]:
        """Run a Celery worker with `processes` processes, and beat. Wait until the worker answers."""
        command = [*self.commands["worker"]]
        command[command.index("--concurrency") + 1] = str(processes)
        with (
            self.running("worker", command, cwd=self.checkout) as worker,
            self.running("beat", self.commands["beat"], cwd=self.checkout) as beat,
        ):
            self.wait_until(lambda: bool(self.celery().control.ping(timeout=0.5)), "the worker to answer")
            yield Worker(self, worker, beat)

    def wait_until(self, condition: Callable[[], bool], description: str, seconds: float = READY_SECONDS) -> None:
        """Wait until a condition holds. Exit with the ends of the logs if it does not in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                endings = [
                    f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in self.directory.glob("*.log")
                ]
                sys.exit("\n".join([f"waited {seconds:.0f} s for {description}", *endings]))
            time.sleep(0.02)


def add_before(options: argparse.ArgumentParser) -> None:
    """Add the option that names another checkout."""
    options.add_argument("--before", type=Path, metavar="DIR", help="compare with the code of another checkout")


@contextmanager
def running_stage() -> Iterator[Stage]:
    """Run the servers of this checkout in a temporary directory until the block ends."""
    with running_stages() as (stage,):
        yield stage


@contextmanager
def running_stages(before: Path | None = None) -> Iterator[list[Stage]]:
    """Run the servers of this checkout and of another one until the block ends.

    The environment and Django of this process use those of this checkout. pg_stat_statements is loaded but switched
    off until a bench uses it. All other settings are those of `make run`, with fsync.
    """
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, interrupt_once)
    for name in [name for name in os.environ if name.startswith(("GOALPOST_", "DJANGO_"))]:
        del os.environ[name]
    os.environ.pop("DATABASE_URL", None)
    os.environ.pop("REDIS_URL", None)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="goalpost-bench-") as name,
            claim(Path(name)) as lock,
            ExitStack() as stack,
        ):
            checkouts = {"now": ROOT, **({"before": before.resolve()} if before else {})}
            stages = [
                stack.enter_context(running_host(title, checkout, Path(name) / title, lock))
                for title, checkout in checkouts.items()
            ]
            os.environ |= stages[0].environment
            django.setup()
            yield stages
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


@contextmanager
def running_host(name: str, checkout: Path, directory: Path, lock: int) -> Iterator[Stage]:
    """Run the servers of a checkout until the block ends. Exit with their log if they do not start."""
    directory.mkdir()
    log, ready = directory / "host.log", directory / "host.json"
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(checkout)}
    with log.open("wb") as output:
        command = [sys.executable, "-P", str(HOST), str(directory)]
        host = start(f"host-{name}", command, lock=lock, env=environment, cwd=checkout, output=output)
    try:
        while not ready.exists():
            if host.process.poll() is not None:
                sys.exit(f"{checkout} does not start: {log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        known = json.loads(ready.read_text())
        settings = {**ENVIRONMENT, **known.pop("environment"), "PYTHONPATH": str(checkout)}
        yield Stage(name=name, checkout=checkout, directory=directory, lock=lock, environment=settings, **known)
    finally:
        stop([host], within=2 * STOP_SECONDS)


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like an assertion
    """Exit with a message if a condition does not hold, because then the figures mean nothing."""
    if not condition:
        sys.exit(otherwise)


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False

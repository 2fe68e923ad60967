"""Temporary servers, web servers, worker and beat for the benches, with the settings of `make run`."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import psycopg

from api.management.commands import up
from api.runtime.embedded import free_port, servers
from api.runtime.processes import Child, claim, start, stop

Link = psycopg.Connection[Any]
ROOT = Path(__file__).resolve().parents[2]
CLIENT_ID, SECRET, SITECODE = "demo_client", "demo_secret", "1q2w3e4r5t"
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "api.settings",
    "GOALPOST_SECRET_KEY": "only for the bench",
    "GOALPOST_INBOX_LIMIT": "100000000",
    "GOALPOST_API_REQUESTS_PER_MINUTE": "100000000",
    "GOALPOST_SITECODE": SITECODE,
    "GOALPOST_CLIENT_ID": CLIENT_ID,
    "GOALPOST_CLIENT_SECRET": SECRET,
}
READY_SECONDS = 60.0
STOP_SECONDS = 8.0  # a worker finishes its batch first


@dataclass(frozen=True, slots=True)
class Stage:
    """Empty, migrated servers with one site. The environment and Django of this process use them."""

    directory: Path
    lock: int
    site_id: int
    source_id: int

    def connect(self) -> Link:
        """Return an autocommit connection that pg_stat_statements ignores."""
        connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        connection.execute("SET pg_stat_statements.track = 'none'")
        return connection

    def scalar(self, sql: str, *parameters: Any) -> Any:
        """Return the single value of a query."""
        with self.connect() as connection:
            row = connection.execute(sql, parameters).fetchone()
            return row[0] if row else None

    def admin_session(self) -> str:
        """Return the key of a new session of the administrator."""
        from django.contrib.auth import get_user_model
        from django.test import Client

        client = Client()
        client.force_login(get_user_model().objects.get(is_superuser=True))
        return client.cookies["sessionid"].value

    def empty_inbox(self) -> None:
        """Delete all messages. No worker may run."""
        with self.connect() as connection:
            connection.execute("TRUNCATE api_message")

    @contextmanager
    def running(self, name: str, command: Sequence[str]) -> Iterator[Child]:
        """Run a process of the product during the block. Exit if it ends before the block."""
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            child = start(name, command, lock=self.lock, env=os.environ, cwd=ROOT, output=output)
        try:
            yield child
            if child.process.poll() is not None:
                sys.exit(f"{name} ended by itself: {log.read_text(errors='replace')[-2000:]}")
        finally:
            stop([child], within=STOP_SECONDS)

    @contextmanager
    def web(self, application: str, path: str, *, workers: int, threads: int) -> Iterator["Web"]:
        """Run a web server like that of `make run` on a free port, and wait until it answers at `path`."""
        from django.test import override_settings

        port = free_port()
        with override_settings(HOST="127.0.0.1", PORT=port):
            command = [*up.web_command()[:-1], application]
        for option, value in {"--workers": workers, "--blocking-threads": threads}.items():
            command[command.index(option) + 1] = str(value)
        with self.running(f"web-{application.partition(':')[0]}", command) as child:
            self.wait_until(lambda: answers(f"http://127.0.0.1:{port}{path}"), f"{application} to answer")
            yield Web(port, child)

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

    def hello(self, *, workers: int, threads: int) -> AbstractContextManager["Web"]:
        """Run the yardstick for HTTP: a bare Django view."""
        return self.web("tests.bench.hello:application", "/hello", workers=workers, threads=threads)

    def goalpost(self, *, workers: int, threads: int) -> AbstractContextManager["Web"]:
        """Run the web server of the product."""
        return self.web("api.wsgi:application", "/health/ready", workers=workers, threads=threads)

    @contextmanager
    def worker(self, processes: int = 1) -> Iterator[list[Child]]:
        """Run a Celery worker with `processes` processes, and beat. Wait until the worker answers."""
        from api.celery import app

        command = up.worker_command()
        command[command.index("--concurrency") + 1] = str(processes)
        with self.running("worker", command) as worker, self.running("beat", up.beat_command()) as beat:
            self.wait_until(lambda: bool(app.control.ping(timeout=0.5)), "the worker to answer")
            yield [worker, beat]


@dataclass(frozen=True, slots=True)
class Web:
    """A running web server."""

    port: int
    child: Child


@contextmanager
def running_stage() -> Iterator[Stage]:
    """Run the servers of a bench in a temporary directory until the block ends.

    pg_stat_statements is loaded but switched off until the bench of the digest uses it. All other settings are those of
    `make run`, with fsync.
    """
    for stop_signal in up.STOP_SIGNALS:
        signal.signal(stop_signal, up.interrupt_once)
    try:
        with tempfile.TemporaryDirectory(prefix="goalpost-bench-") as name, claim(Path(name)) as lock:
            directory = Path(name)
            with servers(directory, lock=lock, wanted=["DATABASE_URL"]):
                pass  # the first start creates the cluster, which is configured below
            with (directory / "postgresql" / "postgresql.conf").open("a") as file:
                file.write("shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track = 'none'\n")
            with servers(directory, lock=lock) as running:
                os.environ |= {**ENVIRONMENT, **running.environment, "GOALPOST_DATA_DIR": name}
                for step in ("migrate", "bootstrap"):
                    command = [sys.executable, str(ROOT / "manage.py"), step]
                    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                django.setup()
                yield make_stage(directory, lock)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def make_stage(directory: Path, lock: int) -> Stage:
    """Return the stage on running servers. Its site has no new-goal limit, because benches send 60 names at once."""
    from api.models.budgets import BUDGET_FIELDS  # needs the settings

    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute("UPDATE api_site SET goals_per_10_seconds = 1000000, goals_per_hour = 1000000")
        # Without limits of sources, because the benches measure the machine.
        connection.execute("UPDATE api_source SET " + ", ".join(f"{name} = 10 ^ 15" for name in BUDGET_FIELDS))
        row = connection.execute(
            "SELECT site.id, source.id FROM api_site site JOIN api_source source ON source.site_id = site.id"
        ).fetchone()
    assert row is not None
    return Stage(directory, lock, row[0], row[1])


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like an assertion
    """Exit with a message if a condition does not hold, because then the figures mean nothing."""
    if not condition:
        sys.exit(otherwise)


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False

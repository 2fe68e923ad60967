"""What every bench stands on: throw-away servers as `make run` has them, web servers, worker and beat, a clean end."""

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
from api.models.budgets import FIELDS
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
STOP_SECONDS = 8.0  # a worker ends its batch first


@dataclass(frozen=True, slots=True)
class Stage:
    """Empty, migrated servers with one site; this process's environment and Django lead to them."""

    directory: Path
    lock: int
    site_id: int
    source_id: int

    def connect(self) -> Link:
        """An autocommitting connection for looking and filling, which pg_stat_statements does not see."""
        connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        connection.execute("SET pg_stat_statements.track = 'none'")
        return connection

    def scalar(self, sql: str, *parameters: Any) -> Any:
        """The one value of a query."""
        with self.connect() as connection:
            row = connection.execute(sql, parameters).fetchone()
            return row[0] if row else None

    def admin_session(self) -> str:
        """A session of the administrator."""
        from django.contrib.auth import get_user_model
        from django.test import Client

        client = Client()
        client.force_login(get_user_model().objects.get(is_superuser=True))
        return client.cookies["sessionid"].value

    def empty_inbox(self) -> None:
        """Forget all messages; no worker may run."""
        with self.connect() as connection:
            connection.execute("TRUNCATE api_message")

    @contextmanager
    def running(self, name: str, command: Sequence[str]) -> Iterator[Child]:
        """A process of the product; it must still live at the end."""
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
        """A web server as `make run` starts it, on a free port and in this shape, once it answers at `path`."""
        from django.test import override_settings

        port = free_port()
        with override_settings(HOST="127.0.0.1", PORT=port):
            command = [*up.web_command()[:-1], application]
        for option, value in {"--workers": workers, "--blocking-threads": threads}.items():
            command[command.index(option) + 1] = str(value)
        with self.running(f"web-{application.partition(':')[0]}", command) as child:
            self.until(lambda: answers(f"http://127.0.0.1:{port}{path}"), f"{application} to answer")
            yield Web(port, child)

    def until(self, condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """Wait until a condition holds; the bench ends with the processes' last words when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                words = [
                    f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in self.directory.glob("*.log")
                ]
                sys.exit("\n".join([f"waited {seconds:.0f} s for {what}", *words]))
            time.sleep(0.02)

    def hello(self, *, workers: int, threads: int) -> AbstractContextManager["Web"]:
        """The yardstick of everything that speaks HTTP: a bare Django view."""
        return self.web("tests.bench.hello:application", "/hello", workers=workers, threads=threads)

    def goalpost(self, *, workers: int, threads: int) -> AbstractContextManager["Web"]:
        """The web server of the product."""
        return self.web("api.wsgi:application", "/health/ready", workers=workers, threads=threads)

    @contextmanager
    def worker(self, processes: int = 1) -> Iterator[list[Child]]:
        """A Celery worker with so many processes, and beat, once the worker answers."""
        from api.celery import app

        command = up.worker_command()
        command[command.index("--concurrency") + 1] = str(processes)
        with self.running("worker", command) as worker, self.running("beat", up.beat_command()) as beat:
            self.until(lambda: bool(app.control.ping(timeout=0.5)), "the worker to answer")
            yield [worker, beat]


@dataclass(frozen=True, slots=True)
class Web:
    """A web server in processes of its own."""

    port: int
    child: Child


@contextmanager
def stage() -> Iterator[Stage]:
    """Servers of a bench, in a directory that is gone afterwards, whatever ends the block.

    pg_stat_statements is loaded and asleep (the digest's bench wakes it); all else is as `make run` has it, fsync too.
    """
    for each in up.STOP_SIGNALS:
        signal.signal(each, up.interrupt_once)
    try:
        with tempfile.TemporaryDirectory(prefix="goalpost-bench-") as name, claim(Path(name)) as lock:
            directory = Path(name)
            with servers(directory, lock=lock, wanted=["DATABASE_URL"]):
                pass  # only now there is a cluster to configure
            with (directory / "postgresql" / "postgresql.conf").open("a") as file:
                file.write("shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track = 'none'\n")
            with servers(directory, lock=lock) as running:
                os.environ |= {**ENVIRONMENT, **running.environment, "GOALPOST_DATA_DIR": name}
                for step in ("migrate", "bootstrap"):
                    command = [sys.executable, str(ROOT / "manage.py"), step]
                    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                django.setup()
                yield raise_curtain(directory, lock)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def raise_curtain(directory: Path, lock: int) -> Stage:
    """The stage on running servers. Its site makes goals without a limit: the benches bring 60 names at once."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute("UPDATE api_site SET goals_per_10_seconds = 1000000, goals_per_hour = 1000000")
        # The benches measure what the machine can do, not what one source may do.
        connection.execute("UPDATE api_source SET " + ", ".join(f"{name} = 10 ^ 15" for name in FIELDS))
        row = connection.execute(
            "SELECT site.id, source.id FROM api_site site JOIN api_source source ON source.site_id = site.id"
        ).fetchone()
    assert row is not None
    return Stage(directory, lock, row[0], row[1])


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like an assertion
    """End the bench when what was measured did not happen."""
    if not condition:
        sys.exit(otherwise)


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False

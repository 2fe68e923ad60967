"""A complete Goalpost in a temporary directory. Each of its processes can be killed and restarted."""

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
from django.test import override_settings

from api.http.credentials import encode_api_key
from api.management.commands import up
from api.runtime.embedded import Servers, servers, start_postgresql, start_valkey
from api.runtime.processes import Child, claim, start, stop
from tests.contract.server import ROOT

PATIENCE = 300.0  # seconds until a condition that must come true counts as failed
STOP_SECONDS = 30.0
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)  # of Debian's package libfaketime
WEBS = ("web-1", "web-2")
COMMANDS: Mapping[str, Callable[[], list[str]]] = {
    "web": up.web_command,
    "worker": up.worker_command,
    "beat": up.beat_command,
}

# Row if a process has claimed a batch: it holds the advisory lock with the number of its claim.
HAS_CLAIM = """
SELECT 1 FROM api_claim c
  JOIN pg_locks l ON l.locktype = 'advisory' AND l.classid::bigint << 32 | l.objid::bigint = c.worker
  JOIN pg_stat_activity a USING (pid)
 WHERE starts_with(a.application_name, %(name)s || ' ')
"""
PREPARE = """
import json, sys, django
from django.core.management import call_command
django.setup()
call_command("prepare")
from api.models import Scope
from api.ingest.provisioning import create_credential, create_site
sites = [create_site(name="Chaos") for _ in range(int(sys.argv[1]))]
from api.models.budgets import BUDGET_FIELDS, MAX_BUDGET
from api.models import Source
Source.objects.update(**dict.fromkeys(BUDGET_FIELDS, MAX_BUDGET))
new = create_credential(sites, name="Chaos", scopes=Scope.values)
print(json.dumps([[new.credential.client_id, new.secret], [[site.pk, site.sitecode] for site in sites]]))
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A site that receives events, and the credential that opens it."""

    id: int
    sitecode: str
    authorization: str


@dataclass
class Stack:
    """PostgreSQL and Valkey with the settings of `make run`, migrated; web servers, workers and beat.

    Only the main thread can start children, because they end with the thread that started them.
    """

    directory: Path
    lock: int
    servers: Servers
    ports: dict[str, int] = field(default_factory=lambda: {name: find_free_port() for name in WEBS})
    children: dict[str, Child] = field(default_factory=dict)
    sites: "list[Site]" = field(default_factory=list)  # one per scenario; one credential opens all
    settings: dict[str, str] = field(default_factory=dict)  # environment variables of children that start later
    deadlocks_before: int = 0
    _connection: "psycopg.Connection[Any] | None" = None

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.servers.environment,
            "DJANGO_SETTINGS_MODULE": "api.settings",
            "GOALPOST_DATA_DIR": str(self.directory),
            "GOALPOST_SECRET_KEY": "only for chaos",
            **self.settings,
        }

    # Web servers, workers, beat: `web-1`, `web-2`, `worker-<number>`, `beat`

    def start(self, *names: str, include: str = "") -> None:
        """Start processes by the commands of `manage.py up`. Workers also import the module `include`."""
        for name in names:
            kind = name.partition("-")[0]
            with override_settings(HOST="127.0.0.1", PORT=self.ports.get(name), DATA_DIR=self.directory):
                command = COMMANDS[kind]()
            if kind == "worker":
                command += ["-n", f"{name}@%h", *(["-I", include] if include else [])]
            environment = self.environment()
            environment["DATABASE_URL"] += f"&application_name={name}"
            with (self.directory / f"{name}.log").open("ab") as output:
                self.children[name] = start(name, command, lock=self.lock, env=environment, cwd=ROOT, output=output)

    def is_ready(self, web: str) -> bool:
        """Return True if a web server answers."""
        with override_settings(HOST="127.0.0.1", PORT=self.ports[web]):
            return up.answers_ready()

    def kill(self, *names: str) -> None:
        """End processes and their children by SIGKILL."""
        for name in names:
            child = self.children.pop(name)
            with suppress(ProcessLookupError):  # it crashed, which the ledger notes
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process and its children."""
        os.killpg(self.children[name].process.pid, number)

    def catch(self, worker: str, *, within: float) -> None:
        """Freeze a worker in the middle of a batch, if it claims one in time."""
        group, until = self.children[worker].process.pid, time.monotonic() + within
        while time.monotonic() < until:
            if self.fetch(HAS_CLAIM, name=worker):
                os.killpg(group, signal.SIGSTOP)
                if self.fetch(HAS_CLAIM, name=worker):
                    return
                os.killpg(group, signal.SIGCONT)
            time.sleep(0.005)

    def find_crashed(self) -> list[str]:
        """Return the names of processes that ended without a signal from here."""
        return [name for name, child in self.children.items() if child.process.poll() is not None]

    # PostgreSQL and Valkey

    def stop_server(self, name: str, how: signal.Signals) -> None:
        """End `postgresql` or `valkey` by a signal."""
        self.disconnect()
        child = next(child for child in self.servers.children if child.name == name)
        child.process.send_signal(how)
        child.process.wait(STOP_SECONDS)
        self.servers.children.remove(child)

    def start_server(self, name: str) -> None:
        """Restart `postgresql` or `valkey` under its old address and wait until it accepts connections."""
        if name == "postgresql":
            self.deadlocks_before = self.count_deadlocks()  # a restart empties its log
            start_postgresql(self.servers, self.directory, lock=self.lock, throwaway=False)
        else:
            start_valkey(self.servers, self.directory, lock=self.lock)

    def fetch(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        if self._connection is None:
            self._connection = psycopg.connect(self.servers.environment["DATABASE_URL"], autocommit=True)
        return self._connection.execute(sql, parameters).fetchall()

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def count_deadlocks(self) -> int:
        """Count the deadlocks in PostgreSQL's log, because an immediate stop empties pg_stat_database."""
        log = (self.directory / "postgresql.log").read_text(errors="replace")
        return self.deadlocks_before + log.count("deadlock detected")

    def prepare(self, sites: int) -> None:
        """Migrate, bootstrap and make sites in a child process, because this process has other settings."""
        command = [sys.executable, "-c", PREPARE, str(sites)]
        made = subprocess.run(command, env=self.environment(), cwd=ROOT, check=True, stdout=subprocess.PIPE)
        credential, rows = json.loads(made.stdout.splitlines()[-1])
        self.sites = [Site(id_, sitecode, f"Basic {encode_api_key(*credential)}") for id_, sitecode in rows]

    def verify(self) -> bool:
        """Run `manage.py verify` with this process's output. Return True if it found nothing."""
        command = [sys.executable, "manage.py", "verify"]
        return subprocess.run(command, env=self.environment(), cwd=ROOT, check=False).returncode == 0

    def doctor(self, offset: str = "") -> str:
        """Return the output of `manage.py doctor`, with its clock off by `offset` in the notation of libfaketime."""
        environment = self.environment()
        if offset:
            environment |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": offset}
        command = [sys.executable, "manage.py", "doctor"]
        ran = subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True)
        return ran.stdout + ran.stderr

    def logs_with(self, text: str) -> list[str]:
        """Return the names of the logs that contain a text."""
        return sorted(path.name for path in self.directory.glob("*.log*") if text in path.read_text(errors="replace"))


@contextmanager
def running_stack(directory: Path) -> Iterator[Stack]:
    """Run the servers and two web servers until the block ends. The block starts workers and beat."""
    with claim(directory) as lock, servers(directory, lock=lock, wanted=["DATABASE_URL"]) as running:
        running.environment["REDIS_URL"] = f"redis://:{secrets.token_hex()}@127.0.0.1:{find_free_port()}/0"
        start_valkey(running, directory, lock=lock)
        stack = Stack(directory, lock, running)
        try:
            stack.prepare(sites=8)
            stack.start(*WEBS)
            for web in WEBS:
                wait_until(partial(stack.is_ready, web), web)
            yield stack
        finally:
            stack.disconnect()
            stop(list(stack.children.values()), within=STOP_SECONDS)


ATTEMPTS: Final = 3  # the default of GOALPOST_DIGEST_ATTEMPTS


@contextmanager
def running_workers(
    stack: Stack,
    workers: int,
    *,
    attempts: int = ATTEMPTS,
    include: str = "",
    settings: Mapping[str, str] | None = None,
) -> Iterator[list[str]]:
    """Run workers and beat until the block ends, and yield the workers' names. `settings` apply only to them."""
    common = {"GOALPOST_DIGEST_ATTEMPTS": str(attempts)}
    stack.settings = {**common, **(settings or {})}
    names = [f"worker-{number + 1}" for number in range(workers)]
    stack.start(*names, "beat", include=include)
    stack.settings = common
    try:
        yield names
    finally:
        stack.kill(*(name for name in stack.children if name not in WEBS))


def count(stack: Stack, site: Site, condition: str, **parameters: object) -> int:
    """Count the messages of a site for which a condition holds."""
    sql = f"SELECT count(*) FROM api_message WHERE site_id = %(site)s AND {condition}"
    rows = stack.fetch(sql, site=site.id, **parameters)
    return int(rows[0][0])


def is_digested(stack: Stack, site: Site) -> bool:
    return not count(stack, site, "status IN ('pending', 'deferred')")


def find_free_port() -> int:
    """Return a free port below the range from which clients get their local ports.

    On a port of that range a client may connect to itself while no server listens. Then no server can bind the port.
    """
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("of 100 ports none is free")


def wait_until(condition: Callable[[], Any], description: str) -> None:
    """Wait for a condition. Raise TimeoutError if it does not come true in time."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > PATIENCE:
            raise TimeoutError(f"waited {PATIENCE:.0f} s in vain for {description}")
        time.sleep(0.05)

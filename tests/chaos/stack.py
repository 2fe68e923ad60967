"""A whole Goalpost in a directory of its own, whose every process can be killed and started again."""

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

from api.http.credentials import api_key
from api.management.commands import up
from api.runtime.embedded import Servers, servers, start_postgresql, start_valkey
from api.runtime.processes import Child, claim, start, stop
from tests.contract.server import ROOT

PATIENCE = 300.0  # seconds until something that must happen counts as never happening
STOP_SECONDS = 30.0
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)  # of Debian's package libfaketime
WEBS = ("web-1", "web-2")
COMMANDS: Mapping[str, Callable[[], list[str]]] = {
    "web": up.web_command,
    "worker": up.worker_command,
    "beat": up.beat_command,
}
START_AGAIN = {"postgresql": start_postgresql, "valkey": start_valkey}

# Whether a process has noted a batch: the number of its note is that of a lock it holds.
IN_HAND = """
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
from api.models.budgets import FIELDS, MOST
from api.models import Source
Source.objects.update(**dict.fromkeys(FIELDS, MOST))
new = create_credential(sites, name="Chaos", scopes=Scope.values)
print(json.dumps([[new.credential.client_id, new.secret], [[site.pk, site.sitecode] for site in sites]]))
"""


@dataclass(frozen=True, slots=True)
class Site:
    """Where events go, and what opens it."""

    id: int
    sitecode: str
    authorization: str


@dataclass
class Stack:
    """PostgreSQL and Valkey as `make run` has them, migrated; and the web servers, workers and beat that were started.

    Children can be started from the main thread only (api.runtime.processes).
    """

    directory: Path
    lock: int
    servers: Servers
    ports: dict[str, int] = field(default_factory=lambda: {name: listening_port() for name in WEBS})
    children: dict[str, Child] = field(default_factory=dict)
    sites: "list[Site]" = field(default_factory=list)  # one for each use, all opened by one credential
    settings: dict[str, str] = field(default_factory=dict)  # environment variables of the children to come
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
        """Start processes by the commands of `manage.py up`; `include` names a module that workers import too."""
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
        """Whether a web server answers."""
        with override_settings(HOST="127.0.0.1", PORT=self.ports[web]):
            return up.answers_ready()

    def kill(self, *names: str) -> None:
        """End processes with all of their own by SIGKILL."""
        for name in names:
            child = self.children.pop(name)
            with suppress(ProcessLookupError):  # it fell by itself, which the ledger says
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process and all of its own."""
        os.killpg(self.children[name].process.pid, number)

    def catch(self, worker: str, *, within: float) -> None:
        """Freeze a worker in the middle of a batch, if it comes to have one in time."""
        group, until = self.children[worker].process.pid, time.monotonic() + within
        while time.monotonic() < until:
            if self.fetch(IN_HAND, name=worker):
                os.killpg(group, signal.SIGSTOP)
                if self.fetch(IN_HAND, name=worker):
                    return
                os.killpg(group, signal.SIGCONT)
            time.sleep(0.005)

    def fallen(self) -> list[str]:
        """The processes that ended though nobody ended them."""
        return [name for name, child in self.children.items() if child.process.poll() is not None]

    # PostgreSQL and Valkey

    def stop_server(self, name: str, how: signal.Signals) -> None:
        """End `postgresql` or `valkey` by a signal."""
        self.disconnect()
        child = next(each for each in self.servers.children if each.name == name)
        child.process.send_signal(how)
        child.process.wait(STOP_SECONDS)
        self.servers.children.remove(child)

    def start_server(self, name: str) -> None:
        """Start it again under its old address; it accepts connections when this returns."""
        if name == "postgresql":
            self.deadlocks_before = self.count_deadlocks()  # its log begins anew
            start_postgresql(self.servers, self.directory, lock=self.lock, throwaway=False)
        else:
            start_valkey(self.servers, self.directory, lock=self.lock)

    def fetch(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        if self._connection is None:
            self._connection = psycopg.connect(self.servers.environment["DATABASE_URL"], autocommit=True)
        return self._connection.execute(sql, parameters).fetchall()

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def count_deadlocks(self) -> int:
        """As its log has them: an immediate stop empties pg_stat_database."""
        log = (self.directory / "postgresql.log").read_text(errors="replace")
        return self.deadlocks_before + log.count("deadlock detected")

    def prepare(self, sites: int) -> None:
        """Migrate, bootstrap and make sites, in one child: our own settings lead elsewhere."""
        command = [sys.executable, "-c", PREPARE, str(sites)]
        made = subprocess.run(command, env=self.environment(), cwd=ROOT, check=True, stdout=subprocess.PIPE)
        credential, rows = json.loads(made.stdout.splitlines()[-1])
        self.sites = [Site(id_, sitecode, f"Basic {api_key(*credential)}") for id_, sitecode in rows]

    def verify(self) -> bool:
        """Have `manage.py verify` recount everything, on our own output; whether it found nothing."""
        command = [sys.executable, "manage.py", "verify"]
        return subprocess.run(command, env=self.environment(), cwd=ROOT, check=False).returncode == 0

    def doctor(self, offset: str = "") -> str:
        """Return what `manage.py doctor` prints, its own clock wrong by an offset (as libfaketime spells it)."""
        environment = self.environment()
        if offset:
            environment |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": offset}
        command = [sys.executable, "manage.py", "doctor"]
        ran = subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True)
        return ran.stdout + ran.stderr

    def logs_with(self, text: str) -> list[str]:
        """The logs of all processes that hold a text."""
        return sorted(each.name for each in self.directory.glob("*.log*") if text in each.read_text(errors="replace"))


@contextmanager
def running_stack(directory: Path) -> Iterator[Stack]:
    """The servers and two web servers, until the block ends. Workers and beat are the block's to start."""
    with claim(directory) as lock, servers(directory, lock=lock, wanted=["DATABASE_URL"]) as running:
        running.environment["REDIS_URL"] = f"redis://:{secrets.token_hex()}@127.0.0.1:{listening_port()}/0"
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


ATTEMPTS: Final = 3  # GOALPOST_DIGEST_ATTEMPTS, as it is by default


@contextmanager
def working(
    stack: Stack,
    workers: int,
    *,
    attempts: int = ATTEMPTS,
    include: str = "",
    settings: Mapping[str, str] | None = None,
) -> Iterator[list[str]]:
    """Run workers and beat beside the web servers and yield the workers' names. `settings` are for these alone."""
    ours = {"GOALPOST_DIGEST_ATTEMPTS": str(attempts)}
    stack.settings = {**ours, **(settings or {})}
    names = [f"worker-{number + 1}" for number in range(workers)]
    stack.start(*names, "beat", include=include)
    stack.settings = ours
    try:
        yield names
    finally:
        stack.kill(*(name for name in stack.children if name not in WEBS))


def count(stack: Stack, site: Site, condition: str, **parameters: object) -> int:
    """Count the messages of a site that meet a condition."""
    sql = f"SELECT count(*) FROM api_message WHERE site_id = %(site)s AND {condition}"
    rows = stack.fetch(sql, site=site.id, **parameters)
    return int(rows[0][0])


def is_digested(stack: Stack, site: Site) -> bool:
    return not count(stack, site, "status IN ('pending', 'deferred')")


def listening_port() -> int:
    """A free port below those that clients are given for their own end.

    On one of those a client that calls while nobody listens may reach itself, and nobody can listen there again.
    """
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("of 100 ports none is free")


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition. Raises TimeoutError when it does not come true."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > PATIENCE:
            raise TimeoutError(f"waited {PATIENCE:.0f} s in vain for {what}")
        time.sleep(0.05)

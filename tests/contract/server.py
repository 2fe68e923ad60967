"""The real web server on a free port, started by the command of `manage.py up`, and a site on it."""

import json
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from django.db import connections
from django.test import override_settings

from api.digest import run
from api.digest.claims import Claims
from api.http.credentials import encode_api_key, generate_secret
from api.ingest.provisioning import create_credential, create_site, create_source
from api.management.commands import up
from api.models import Scope, Site, Source
from api.runtime.embedded import free_port
from api.runtime.processes import Child, claim, start, stop
from goals.models import Goal

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "api.asgi:application"
READY_SECONDS = 60.0
STOP_SECONDS = 4.0


@dataclass(slots=True)
class Server:
    """A web server in separate processes on the database of the tests."""

    url: str
    port: int
    log: Path
    child: Child
    lock: int
    environment: Mapping[str, str]

    def kill(self) -> None:
        """Kill all processes of the server at once, like a crash."""
        os.killpg(self.child.process.pid, signal.SIGKILL)
        self.child.process.wait()

    def start_again(self) -> None:
        """Restart it on its port after `kill` and wait until it answers. Only the main thread may call this."""
        self.child = start_web(self.port, self.log, lock=self.lock, environment=self.environment)
        await_ready(self)

    def processes(self) -> list[int]:
        """Return the process ids of the server and its workers."""
        group = self.child.process.pid
        pids = []
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.getpgid(int(directory.name)) == group:
                    pids.append(int(directory.name))
        return pids

    def memory(self) -> int:
        """Return the bytes of memory of its largest process, which is the one that answers."""
        return max(resident(pid) for pid in self.processes())

    def peak_memory(self) -> int:
        """Return the largest memory in bytes that one of its processes ever had."""
        return max(resident(pid, "VmHWM") for pid in self.processes())


def resident(pid: int, field: str = "VmRSS") -> int:
    """Return a figure of /proc/<pid>/status in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


@contextmanager
def running_server(directory: Path) -> Iterator[Server]:
    """Run the web server until the block ends. It answers when the block begins."""
    log = directory / "web.log"
    environment = environment_of_the_test(directory)
    with kept_port() as port, claim(directory) as lock:
        child = start_web(port, log, lock=lock, environment=environment)
        server = Server(f"http://127.0.0.1:{port}", port, log, child, lock, environment)
        try:
            await_ready(server)
            yield server
        finally:
            stop([server.child], within=STOP_SECONDS)


@contextmanager
def running_uvicorn(directory: Path) -> Iterator[Server]:
    """Run the application under uvicorn until the block ends."""
    port, log = free_port(), directory / "web.log"
    environment = environment_of_the_test(directory)
    command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    with claim(directory) as lock, log.open("ab") as output:
        child = start("web", [*command, APPLICATION], lock=lock, env=environment, cwd=ROOT, output=output)
        server = Server(f"http://127.0.0.1:{port}", port, log, child, lock, environment)
        try:
            await_ready(server)
            yield server
        finally:
            stop([child], within=STOP_SECONDS)


@contextmanager
def kept_port() -> Iterator[int]:
    """Reserve a port, also while its server is down. The server binds it with SO_REUSEPORT too."""
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]


def start_web(port: int, log: Path, *, lock: int, environment: Mapping[str, str]) -> Child:
    with override_settings(HOST="127.0.0.1", PORT=port), log.open("ab") as output:
        return start("web", up.web_command(), lock=lock, env=environment, cwd=ROOT, output=output)


@contextmanager
def running_worker(server: Server) -> Iterator[None]:
    """Run a Celery worker and beat for a server. They must end before the test's database is emptied."""
    children = []
    with server.log.with_name("worker.log").open("wb") as output:
        try:
            for name, command in (("worker", up.worker_command()), ("beat", up.beat_command())):
                children.append(start(name, command, lock=server.lock, env=server.environment, cwd=ROOT, output=output))
            yield
        finally:
            stop(children, within=STOP_SECONDS)


def environment_of_the_test(directory: Path) -> dict[str, str]:
    """Return the environment of this process with the test's database."""
    name = str(connections["default"].settings_dict["NAME"])
    place, _, options = os.environ["DATABASE_URL"].partition("?")
    database = f"{place.rpartition('/')[0]}/{name}" + (f"?{options}" if options else "")
    return {**os.environ, "DATABASE_URL": database, "GOALPOST_DATA_DIR": str(directory)}


def await_ready(server: Server) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/health/ready", timeout=2).status_code == 200:
                return
        assert server.child.process.poll() is None, server.log.read_text()[-2000:]
        assert time.monotonic() < deadline, server.log.read_text()[-2000:]
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Shop:
    """A site on a running server. Each test has new names, because the server caches names for seconds."""

    server: Server
    client: httpx.Client
    sitecode: str
    client_id: str
    secret: str
    write_key: str
    site_id: int

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the destination sends with each event."""
        return {
            "user-agent": "Segment (Actions)",
            "authorization": f"Basic {encode_api_key(self.client_id, self.secret)}",
            "x-segment-settings": self.sitecode,
            "content-type": "application/json",
        }

    # Sending

    def event(self, type_: str = "track", **fields: Any) -> dict[str, Any]:
        """Return a current event with a new messageId."""
        now = datetime.now(UTC).isoformat()
        name = {"event": "Signed Up"} if type_ == "track" else {}
        return {"type": type_, "messageId": uuid.uuid4().hex, "timestamp": now, "userId": "user-1", **name, **fields}

    def post(self, body: Any, *, path: str = "/segmentio", **headers: str) -> httpx.Response:
        """POST a body: bytes unchanged, an iterator chunked, anything else as JSON."""
        given = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        content = body if isinstance(body, bytes | Iterator) else json.dumps(body).encode()
        return self.client.post(path, content=content, headers=given)

    def send(self, *events: Mapping[str, Any]) -> None:
        """POST events one by one, then digest them."""
        for event in events:
            answer = self.post(event)
            assert answer.status_code == 200, answer.text
        self.digest()

    def digest(self) -> None:
        """Digest all messages as a worker does."""
        claims = Claims()
        run.digest_all(claims, seconds=30)
        claims.close()

    # Reading

    def read(self, key: str) -> Any:
        """Return the remote data under a key, read with credentials."""
        parameters = {"siteCode": self.sitecode, "key": key}
        authorization = {"authorization": f"Basic {encode_api_key(self.client_id, self.secret)}"}
        answer = self.client.get("/map/map", params=parameters, headers=authorization)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def goals(self) -> dict[str, list[str]]:
        """Return the visitor codes of the conversions of each goal in the order of their times."""
        return {
            goal.name: [
                conversion.visitor_code for conversion in goal.conversions.order_by("occurred_at", "message_key")
            ]
            for goal in Goal.objects.filter(site__sitecode=self.sitecode, deleted_at=None).order_by("name")
        }


@contextmanager
def open_shop(server: Server, *, requires_token: bool = False) -> Iterator[Shop]:
    """Yield a new site with a credential."""
    client_id, secret = generate_secret(), generate_secret()
    site = create_site(name="Shop", public_traits=["plan"])
    Site.objects.filter(pk=site.pk).update(requires_token=requires_token)
    create_credential([site], name="Segment", scopes=Scope.values, client_id=client_id, secret=secret)
    write_key = create_source(site, name="SDK", kind=Source.Kind.SERVER).write_keys.get().key
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield Shop(server, client, site.sitecode, client_id, secret, write_key, site.pk)

"""A Goalpost that `manage.py up` of a checkout runs, as the target of attacks, and a neighbour that measures it."""

import base64
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
from dotenv import dotenv_values

from api.runtime.embedded import free_port

READY_SECONDS: Final = 180.0
RATE: Final = 20.0  # events, and as many reads, per second of the site Quiet
LANES: Final = 12  # concurrent requests of each kind, because a slow answer must not delay the next request
TIMEOUT: Final = 60.0
SETUP: Final = """
import json, django
django.setup()
try:
    from api.ingest.provisioning import create_credential, create_site, create_source
except ImportError:  # an older checkout
    from api.sites import create_credential, create_site, create_source
from api import models
everything = {"scopes": list(models.Scope)} if hasattr(models, "Scope") else {}  # older checkouts have no scopes
sites = {}
for name in ("Loud", "Quiet"):
    site = create_site(name=name, public_traits=["plan"])
    source = create_source(site, name="browser", kind=models.Source.Kind.BROWSER)
    new = create_credential([site], name=name, **everything)
    key = source.write_keys.get().key
    sites[name] = [site.pk, site.sitecode, key, new.credential.client_id, new.secret]
print(json.dumps(sites))
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A site with its write key and credential."""

    id: int
    sitecode: str
    write_key: str
    client_id: str
    secret: str

    @property
    def api_key(self) -> str:
        key = json.dumps({"id": self.client_id, "secret": self.secret})
        return "Basic " + base64.b64encode(key.encode()).decode()


@dataclass
class Goalpost:
    """A running Goalpost of a checkout."""

    port: int
    directory: Path
    environment: Mapping[str, str]
    supervisor: "subprocess.Popen[bytes]"
    loud: Site
    quiet: Site
    notes: dict[str, str] = field(default_factory=dict)  # results of the attack by name

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=TIMEOUT, trust_env=False, **options)

    def scalar(self, sql: str, *parameters: Any) -> Any:
        """Return the single value of a query."""
        with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True) as connection:
            row = connection.execute(sql, parameters).fetchone()
            return row[0] if row else None

    def pending(self) -> int:
        sql = "SELECT count(*) FROM api_message WHERE site_id = %s AND status = 'pending'"
        return int(self.scalar(sql, self.loud.id))

    @contextmanager
    def signed_in_client(self) -> Iterator[httpx.Client]:
        """Yield a client with a session of the administrator."""
        password = dotenv_values(self.directory / "first-site.env")["GOALPOST_ADMIN_PASSWORD"]
        with self.client(follow_redirects=True) as browser:
            page = browser.get("/admin/login/")
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
            assert token is not None, page.text[:500]
            form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token[1], "next": "/admin/"}
            referer = {"Referer": f"{self.url}/admin/login/"}
            browser.post("/admin/login/", data=form, headers=referer).raise_for_status()
            yield browser

    def post(self, client: httpx.Client, path: str, body: Any) -> httpx.Response:
        """POST to the site Loud with its write key."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        key = base64.b64encode(f"{self.loud.write_key}:".encode()).decode()
        return client.post(path, content=content, headers={"Authorization": f"Basic {key}"})

    def note(self, name: str, value: object) -> None:
        self.notes[name] = f"{value:,}" if isinstance(value, int) else str(value)

    def time_get(self, name: str, client: httpx.Client, path: str, **options: Any) -> None:
        """Note the status, size and seconds of a read."""
        begun, size = time.monotonic(), 0
        try:
            with client.stream("GET", path, **options) as answer:
                for piece in answer.iter_raw():
                    size += len(piece)
                status = str(answer.status_code)
        except httpx.HTTPError as error:
            status = type(error).__name__
        self.note(name, f"{status}, {size / 1e6:.2f} MB, {time.monotonic() - begun:.2f} s")

    def processes(self, kind: str) -> list[int]:
        """Return the process ids of web or worker, found by their command lines."""
        pids = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str(self.directory) not in (entry / "environ").read_text(errors="replace"):
                    continue
                if kind in (entry / "cmdline").read_text(errors="replace"):
                    pids.append(int(entry.name))
        return pids

    def peak(self, kind: str) -> float:
        """Return the largest memory (MB) of one process of a kind since `forget_peaks`."""
        peaks = [0.0]
        for pid in self.processes(kind):
            with suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                match = re.search(r"VmHWM:\s+(\d+)", status)
                peaks.append(int(match[1]) / 1000 if match else 0.0)
        return max(peaks)

    def forget_peaks(self) -> None:
        for kind in KINDS.values():
            for pid in self.processes(kind):
                with suppress(OSError):
                    Path(f"/proc/{pid}/clear_refs").write_text("5")


KINDS: Final = {"web": "granian", "worker": "\0worker\0"}


@contextmanager
def running_goalpost(checkout: Path) -> Iterator[Goalpost]:
    """Run a Goalpost with the sites Loud and Quiet until the block ends."""
    with tempfile.TemporaryDirectory(prefix="goalpost-worst-") as name:
        directory, port = Path(name), free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("GOALPOST_", "DJANGO_"))}
        kept.pop("DATABASE_URL", None)
        kept.pop("REDIS_URL", None)
        environment = {**kept, "GOALPOST_DATA_DIR": name, "GOALPOST_PORT": str(port), "PYTHONUNBUFFERED": "1"}
        with (directory / "up.log").open("wb") as output:
            supervisor = subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=checkout, env=environment, stdout=output, stderr=output
            )
        try:
            wait_until(lambda: answers(port), READY_SECONDS, (directory / "up.log").read_text)
            environment |= {k: v for k, v in dotenv_values(directory / "servers.env").items() if v}
            environment["DJANGO_SETTINGS_MODULE"] = "api.settings"
            made = subprocess.run(
                [sys.executable, "-c", SETUP], cwd=checkout, env=environment, check=True, stdout=subprocess.PIPE
            )
            loud, quiet = (Site(*row) for row in json.loads(made.stdout.splitlines()[-1]).values())
            yield Goalpost(port, directory, environment, supervisor, loud, quiet)
        finally:
            supervisor.terminate()
            with suppress(subprocess.TimeoutExpired):
                supervisor.wait(30)
            if supervisor.poll() is None:
                supervisor.kill()
                supervisor.wait()


def answers(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=2, trust_env=False).status_code == 200
    return False


def wait_until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str] | None = None) -> bool:
    """Wait for a condition and return True if it came true. Otherwise exit with the text of `explain`, if given."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            if explain is not None:
                sys.exit(f"not ready after {seconds:.0f} s:\n{explain()[-3000:]}")
            return False
        time.sleep(0.05)
    return True


@dataclass
class Neighbour:
    """Sender of events and reads of the site Quiet at a steady rate, with their waits and answers."""

    target: Goalpost
    waits: dict[str, list[float]] = field(default_factory=lambda: {"events": [], "reads": []})
    answers: "Counter[str]" = field(default_factory=Counter)

    @contextmanager
    def sending(self) -> Iterator[None]:
        is_over = threading.Event()
        threads = [
            threading.Thread(target=self._pace, args=(kind, send, is_over), daemon=True)
            for kind, send in (("events", self._event), ("reads", self._read))
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            is_over.set()
            for thread in threads:
                thread.join(TIMEOUT + 5)

    def _pace(self, kind: str, send: Callable[[httpx.Client, int], int], is_over: threading.Event) -> None:
        """Give due times to the lanes. A wait counts from the due time of its request."""
        due: queue.SimpleQueue[tuple[int, float] | None] = queue.SimpleQueue()
        lanes = [threading.Thread(target=self._lane, args=(kind, send, due), daemon=True) for _ in range(LANES)]
        for lane in lanes:
            lane.start()
        begun, number = time.monotonic(), 0
        while not is_over.is_set():
            at = begun + number / RATE
            time.sleep(max(0.0, at - time.monotonic()))
            due.put((number, at))
            number += 1
        for _ in lanes:
            due.put(None)
        for lane in lanes:
            lane.join(TIMEOUT)

    def _lane(
        self,
        kind: str,
        send: Callable[[httpx.Client, int], int],
        due: "queue.SimpleQueue[tuple[int, float] | None]",
    ) -> None:
        with self.target.client() as client:
            while (moment := due.get()) is not None:
                number, at = moment
                try:
                    status = str(send(client, number))
                except httpx.HTTPError as error:
                    status = type(error).__name__
                self.waits[kind].append(time.monotonic() - at)
                if status != "200":
                    self.answers[f"{kind} {status}"] += 1

    def _event(self, client: httpx.Client, number: int) -> int:
        key = base64.b64encode(f"{self.target.quiet.write_key}:".encode()).decode()
        event = {"userId": f"user-{number % 50}", "event": f"Event {number % 5}", "properties": {"revenue": 1}}
        return client.post("/v1/track", json=event, headers={"Authorization": f"Basic {key}"}).status_code

    def _read(self, client: httpx.Client, number: int) -> int:
        asked = {"siteCode": self.target.quiet.sitecode, "key": f"IDENTIFY_user-{number % 50}"}
        return client.get("/map/map", params=asked).status_code

    def p99(self, kind: str) -> float:
        """Return the 99th percentile of the waits in milliseconds."""
        waits = sorted(self.waits[kind])
        return 1000 * waits[min(len(waits) - 1, int(len(waits) * 0.99))] if waits else 0.0

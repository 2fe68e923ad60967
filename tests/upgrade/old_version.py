"""The older version of an upgrade: its processes in a temporary directory, and its management API."""

import base64
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
from dotenv import dotenv_values

from api.runtime.embedded import free_port
from tests.upgrade.snapshot import CLIENT_ID, CLIENT_SECRET

SECRET_KEY: Final = "only for tests"  # the tests use it too, and the fixture's hashes depend on it
PASSWORD: Final = "made up for a fixture"
FIRST_SITECODE: Final = "shop000001"


@dataclass
class OldVersion:
    """A checkout of the older version that runs in a temporary directory."""

    checkout: Path
    directory: Path
    port: int = field(default_factory=free_port)
    up: "subprocess.Popen[bytes] | None" = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, **more: str) -> dict[str, str]:
        hidden = ("GOALPOST_", "PYTEST_", "DATABASE_URL", "REDIS_URL", "DJANGO_")
        own = {
            "GOALPOST_DATA_DIR": str(self.directory / "data"),
            "GOALPOST_PORT": str(self.port),
            "GOALPOST_SECRET_KEY": SECRET_KEY,
            "GOALPOST_SITECODE": FIRST_SITECODE,
            "GOALPOST_CLIENT_ID": CLIENT_ID,
            "GOALPOST_CLIENT_SECRET": CLIENT_SECRET,
            "GOALPOST_WRITE_KEY": "before_write_key_destination",
            "GOALPOST_ADMIN_USER": "operator",
            "GOALPOST_ADMIN_PASSWORD": PASSWORD,
        }
        return {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | own | more

    def start(self, **more: str) -> None:
        """Start `manage.py up` and wait until it answers."""
        log = (self.directory / "up.log").open("ab")
        self.up = subprocess.Popen(
            [".venv/bin/python", "manage.py", "up"],
            cwd=self.checkout,
            env=self.environment(**more),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait_until(
            lambda: self.up is not None and self.up.poll() is None and self._is_ready(), "the older version to start"
        )

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.base}/health/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self.up is not None:
            self.up.send_signal(signal.SIGTERM)
            self.up.wait(30)

    def command(self, *words: str) -> str:
        """Run a management command, which must succeed, and return its output."""
        done = subprocess.run(
            [".venv/bin/python", "manage.py", *words],
            cwd=self.checkout,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def connect(self) -> psycopg.Connection[Any]:
        url = dotenv_values(self.directory / "data" / "servers.env")["DATABASE_URL"]
        assert url is not None
        return psycopg.connect(url, autocommit=True)

    def workers(self) -> list[int]:
        """Return the process groups of the workers."""
        groups = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                is_own = f"GOALPOST_PORT={self.port}".encode() in (process / "environ").read_bytes().split(b"\0")
                if is_own and b"worker" in words:
                    groups.add(os.getpgid(int(process.name)))
            except OSError:
                continue
        return sorted(groups)


def wait_until(condition: Callable[[], bool], description: str, *, seconds: float = 120) -> None:
    """Wait until a condition holds, otherwise fail."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {description}"
        time.sleep(0.2)


def count(connection: psycopg.Connection[Any], condition: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM api_message WHERE {condition}").fetchone()
    assert row is not None
    return int(row[0])


def wait_for_digest(connection: psycopg.Connection[Any]) -> None:
    wait_until(lambda: count(connection, "status = 'pending'") == 0, "the digest")


@dataclass
class Api:
    """Client of the management API with a credential of all sites."""

    base: str

    def call(self, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        answer = httpx.request(
            method,
            f"{self.base}/api/{path}",
            json=body,
            headers={"authorization": f"Bearer {token}" if token else f"Basic {basic}"},
            timeout=60,
        )
        assert answer.is_success, (method, path, answer.status_code, answer.text[:300])
        return answer.json() if answer.content else None

"""A Goalpost that `manage.py up` runs in a temporary directory, as a person starts it."""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from dotenv import dotenv_values

from api.runtime.embedded import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90.0
STOP_SECONDS = 10.0


@dataclass
class Installation:
    data_dir: Path
    port: int = field(default_factory=free_port)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    up: "subprocess.Popen[str] | None" = None

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment without the tests' servers. The mark identifies the processes of this installation."""
        ours = {"GOALPOST_DATA_DIR": str(self.data_dir), "GOALPOST_PORT": str(self.port), "GOALPOST_MARK": self.mark}
        hidden = ("GOALPOST_", "PYTEST_", "DATABASE_URL", "REDIS_URL", "DJANGO_")
        return {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | ours | more

    def command(self, name: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a management command to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", name],
            cwd=ROOT,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def ensure_running(self, *options: str, **more: str) -> "subprocess.Popen[str]":
        if self.up is None or self.up.poll() is not None:
            log = self.data_dir.with_suffix(".log")
            with log.open("w") as output:
                self.up = subprocess.Popen(
                    [sys.executable, "manage.py", "up", *options],
                    cwd=ROOT,
                    env=self.environment(**more),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                )
            deadline = time.monotonic() + START_SECONDS
            while "Goalpost is ready" not in log.read_text():
                assert self.up.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        return self.up

    def log(self) -> str:
        return self.data_dir.with_suffix(".log").read_text()

    def sitecode(self) -> str:
        """Return the sitecode of the first site from the running database."""
        url = dotenv_values(self.data_dir / "servers.env")["DATABASE_URL"]
        assert url is not None
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT sitecode FROM api_site ORDER BY id").fetchall()
        assert len(rows) == 1
        return str(rows[0][0])

    def processes(self) -> dict[int, str]:
        """Return the command by pid of all living descendants of `up`, whatever their parent is now.

        The mark in its environment identifies a process. Valkey overwrites that with its title, but holds the lock.
        """
        commands = {}
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_marked = f"GOALPOST_MARK={self.mark}".encode() in (directory / "environ").read_bytes()
                if is_marked or str(self.data_dir / "up.lock") in map(os.readlink, (directory / "fd").iterdir()):
                    commands[int(directory.name)] = (directory / "cmdline").read_text().replace("\0", " ")
        return commands

    def process_of(self, words: str) -> int:
        """Return the process with these words in its command that `up` started; pids do not show which is older."""
        pids = [pid for pid, command in self.processes().items() if words in command]
        return next(pid for pid in pids if parent_of(pid) not in pids)

    def seconds_until_gone(self) -> float:
        """Return the seconds until no process is left. Fail after more than the promised 10 s."""
        begun = time.monotonic()
        while left := self.processes():
            assert time.monotonic() - begun < STOP_SECONDS, left
            time.sleep(0.05)
        if self.up is not None:
            self.up.wait(STOP_SECONDS)  # an exiting process has no environment that could identify it
        return time.monotonic() - begun

    def kill_everything(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

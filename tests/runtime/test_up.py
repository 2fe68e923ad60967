"""`manage.py up` starts, answers, stops, and recovers from crashes."""

import os
import shutil
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import httpx
import psycopg
import pytest

from api.management.commands import up
from api.runtime.embedded import socket_directory
from api.runtime.processes import StartRefusedError
from tests.runtime.installation import START_SECONDS, Installation

pytestmark = [
    pytest.mark.xdist_group("up"),  # one start at a time, because each takes both cores of a small machine
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes through /proc"),
]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Return an installation in a directory of mode 0700 with a path that is too long for a socket."""
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    deep = home / ("a long name, with a comma & " * 4) / "of a clone"
    deep.mkdir(parents=True)
    installation = Installation(deep / "data")
    yield installation
    if installation.up is not None and installation.up.poll() is None:
        installation.up.send_signal(signal.SIGTERM)
        installation.seconds_until_gone()
    shutil.rmtree(socket_directory(installation.data_dir), ignore_errors=True)  # left outside the data by kill -9
    shutil.rmtree(home)


def terminate(installation: Installation) -> None:
    os.kill(installation.ensure_running().pid, signal.SIGTERM)


def kill_parent(installation: Installation) -> None:
    os.kill(installation.ensure_running().pid, signal.SIGKILL)


def kill_everything(installation: Installation) -> None:
    installation.kill_everything()


@pytest.mark.parametrize("end", [terminate, kill_parent, kill_everything])
def test_up__ended_in_any_way__leaves_nobody_and_finds_its_data_again(
    installation: Installation, end: Callable[[Installation], None]
) -> None:
    installation.ensure_running()
    sitecode = installation.sitecode()
    end(installation)
    installation.seconds_until_gone()
    installation.ensure_running()
    assert installation.sitecode() == sitecode


def test_up__running__answers_and_keeps_its_secrets_to_its_owner(installation: Installation) -> None:
    installation.ensure_running()
    assert httpx.get(f"http://127.0.0.1:{installation.port}/health/ready", trust_env=False).status_code == 200
    for name in ("servers.env", "first-site.env"):
        assert stat.S_IMODE((installation.data_dir / name).stat().st_mode) == 0o600
    assert str(installation.data_dir / "first-site.env") in installation.log()


def test_fact__that_an_sdk_sent__is_read_back_within_a_second(installation: Installation) -> None:
    installation.ensure_running()
    sitecode, waits = installation.sitecode(), list[float]()
    with httpx.Client(base_url=f"http://127.0.0.1:{installation.port}", trust_env=False, timeout=60) as client:
        read_back(client, sitecode, "first")  # the worker may be ready later than the web server
        waits += [read_back(client, sitecode, f"visitor-{number}") for number in range(9)]

    assert median(waits) < 1, waits  # a busy machine is late now and then


def read_back(client: httpx.Client, sitecode: str, visitor: str) -> float:
    """Send a page view, and return the seconds from its 204 until the visitor is read with it."""
    body = f"eventType=page&href=https%3A%2F%2Fshop.example%2F&nonce=1&visitorCode={visitor}"
    assert client.post("/visit/events", params={"siteCode": sitecode}, content=body).status_code == 204
    begun = time.monotonic()
    asked = {"siteCode": sitecode, "visitorCode": visitor, "currentVisit": "true", "page": "true"}
    while "https://shop.example/" not in client.get("/visit/visitor", params=asked).text:
        assert time.monotonic() - begun < START_SECONDS
        time.sleep(0.01)
    return time.monotonic() - begun


def test_up__already_running_on_this_data__names_the_process(installation: Installation) -> None:
    running = installation.ensure_running()
    assert f"already runs on {installation.data_dir} as process {running.pid}" in refusal(installation)


def test_up__secret_key_is_lost__refuses_with_one_line_and_goes_on_when_told(installation: Installation) -> None:
    installation.ensure_running()
    terminate(installation)
    installation.seconds_until_gone()
    (installation.data_dir / "secret-key").unlink()

    line = refusal(installation)
    assert f"the secret key in {installation.data_dir / 'secret-key'} is not the one of this database" in line
    assert "erased" in line
    name, _, value = line.rpartition("GOALPOST_ACCEPT_KEY=")
    assert name.endswith("start once with ")
    installation.ensure_running(GOALPOST_ACCEPT_KEY=value)


def test_up__interrupted__says_so_and_takes_back_its_addresses(installation: Installation) -> None:
    running = installation.ensure_running()
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 0
    installation.seconds_until_gone()
    assert installation.log().endswith("stopped\n")
    assert not (installation.data_dir / "servers.env").exists()


def test_doctor__all_running__finds_everything_ok(installation: Installation) -> None:
    installation.ensure_running()
    deadline = time.monotonic() + 60
    while (report := installation.command("doctor")).returncode:  # the worker may be ready later than the web server
        assert time.monotonic() < deadline, report.stdout
    assert {line.split()[0] for line in report.stdout.splitlines()} == {"ok"}, report.stdout


def test_up__child_is_killed__starts_it_again(installation: Installation) -> None:
    running = installation.ensure_running()
    for number, words in enumerate(("valkey-server", "postgres -D"), 1):  # web, worker and beat: tests.chaos.product
        killed = installation.process_of(words)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: is_running_again(installation, words, killed), installation)  # noqa: B023 - called within the iteration
        wait_until(lambda: ready(installation).get("status") == "ok", installation)

        assert running.poll() is None
        assert (
            installation.log().count("ended by itself (killed, by hand or because the machine had no memory left)")
            == number
        )
    running.send_signal(signal.SIGKILL)
    installation.seconds_until_gone()


def is_running_again(installation: Installation, words: str, killed: int) -> bool:
    return any(words in command and pid != killed for pid, command in installation.processes().items())


def ready(installation: Installation) -> dict[str, object]:
    try:
        answer = httpx.get(f"http://127.0.0.1:{installation.port}/health/ready", trust_env=False, timeout=5)
    except httpx.TransportError:
        return {}
    status: dict[str, object] = answer.json()
    return status


def wait_until(condition: Callable[[], bool], installation: Installation) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, installation.log()
        time.sleep(0.2)


def refusal(installation: Installation, **environment: str) -> str:
    """Run `up`, which must refuse with exit code 1, and return its one line on stderr."""
    refused = installation.command("up", **environment)
    assert refused.returncode == 1
    lines = refused.stderr.strip().splitlines()
    assert len(lines) == 1, refused.stderr
    return lines[0]


def test_up__port_taken__says_which(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    with socket.create_server(("127.0.0.1", installation.port)):
        assert f"cannot listen on 127.0.0.1:{installation.port} (Address already in use)" in refusal(installation)


def test_up__data_directory_not_writable__says_which(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    installation = Installation(tmp_path / "file" / "data")
    assert f"cannot write to the data directory {installation.data_dir}" in refusal(
        installation, GOALPOST_SECRET_KEY="given"
    )
    assert f"cannot keep a secret key in {installation.data_dir}" in refusal(installation)


def test_up__cluster_damaged__gives_the_servers_last_words(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    (installation.data_dir / "postgresql").mkdir(parents=True)
    (installation.data_dir / "postgresql" / "PG_VERSION").write_text("9.6\n")
    assert "postgresql did not start" in (line := refusal(installation))
    assert str(installation.data_dir / "postgresql.log") in line
    assert not installation.processes()


def test_up__addresses_given__starts_no_server_of_its_own(tmp_path: Path) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE DATABASE given")
    installation = Installation(tmp_path / "data")
    installation.ensure_running(
        DATABASE_URL=os.environ["DATABASE_URL"].replace("/goalpost?", "/given?"), REDIS_URL=os.environ["REDIS_URL"]
    )
    commands = " ".join(installation.processes().values())
    terminate(installation)
    installation.seconds_until_gone()
    assert "granian" in commands
    assert "postgres -D" not in commands
    assert "valkey" not in commands


def test_given_database__does_not_answer__is_refused_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "DATABASE_SECONDS", 0)
    with pytest.raises(StartRefusedError, match="DATABASE_URL does not let us in") as refused:
        up.await_database("postgresql://me:geheim@127.0.0.1:1/goalpost")
    assert "geheim" not in str(refused.value)

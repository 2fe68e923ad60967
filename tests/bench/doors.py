"""Requests a second through the two hot paths, beside a bare Django view on the same server.

    python -m tests.bench.doors [--rounds 5] [--seconds 5] [--connections 64] [--workers 1] [--threads 64]

Needs wrk (a Debian package). gunicorn is measured too where it is installed. Starts throw-away servers of its own; the
three loads take turns, and each figure is the median of the rounds. Ratios are what travels between machines.
"""

import argparse
import importlib.util
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.embedded import servers
from api.processes import claim

CLIENT_ID, SECRET, SITECODE = "demo_client", "demo_secret", "1q2w3e4r5t"

WRK_POST = """
local counter = 0
local thread = 0
function setup(t) t:set("id", thread); thread = thread + 1 end
request = function()
  counter = counter + 1
  local body = string.format('{"anonymousId":"anon-%%d","userId":"user-%%d","type":"track",' ..
    '"event":"Clicked on Checkout",' ..
    '"properties":{"revenue":25.5,"currency":"EUR","products":[{"id":"p1","price":25.5}],' ..
    '"kameleoonVisitorCode":"vc%%d"},"timestamp":"2026-11-22T03:19:58.767Z","context":{"ip":"127.0.0.1",' ..
    '"userAgent":"Mozilla/5.0 (X11; Linux x86_64)","locale":"en-US"},"messageId":"%(run)s-%%d-%%d"}',
    counter %% 1000, counter %% 1000, counter %% 1000, id, counter)
  local headers = {["authorization"] = "Basic %(key)s", ["x-segment-settings"] = "%(site)s"}
  return wrk.format("POST", "/segmentio", headers, body)
end
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def command(server: str, port: int, application: str, *, workers: int, threads: int) -> list[str]:
    if server == "granian":
        return [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws", "--log-level", "error"),
            *("--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)),
            *("--blocking-threads", str(threads), application),
        ]
    return [
        *(sys.executable, "-m", "gunicorn", "--log-level", "error", "--worker-class", "gthread"),
        *("--bind", f"127.0.0.1:{port}", "--workers", str(workers), "--threads", str(threads)),
        *("--keep-alive", "30", application),
    ]


@contextmanager
def serving(server: str, application: str, path: str, *, workers: int, threads: int) -> Iterator[int]:
    """A web server on a free port, once it answers."""
    port = free_port()
    process = subprocess.Popen(command(server, port, application, workers=workers, threads=threads))
    try:
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2):
                    break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def measure(port: int, path: str, script: str | None, *, seconds: int, connections: int) -> tuple[float, str, str]:
    """(requests a second, the 99th percentile as wrk prints it, what went wrong)."""
    arguments = [
        "wrk",
        "-t",
        "1",
        "-c",
        str(connections),
        "-d",
        f"{seconds}s",
        "--latency",
        f"http://127.0.0.1:{port}{path}",
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        if script:
            file.write(script)
            file.flush()
            arguments[1:1] = ["-s", file.name]
        output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    tail = re.search(r"99%\s+(\S+)", output)
    trouble = " ".join(re.findall(r"(?:Non-2xx|Socket errors).*", output))
    return float(rate[1]) if rate else 0.0, tail[1] if tail else "?", trouble


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 5), ("seconds", 5), ("connections", 64), ("workers", 1), ("threads", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="goalpost-bench-") as name:
        directory = Path(name)
        with claim(directory) as lock, servers(directory, lock=lock) as running:  # as `make run` has them: fsync on
            os.environ |= {
                **running.environment,
                "DJANGO_SETTINGS_MODULE": "api.settings",
                "GOALPOST_DATA_DIR": name,
                "GOALPOST_SECRET_KEY": "only for the bench",
                "GOALPOST_INBOX_LIMIT": "100000000",
                "GOALPOST_SITECODE": SITECODE,
                "GOALPOST_CLIENT_ID": CLIENT_ID,
                "GOALPOST_CLIENT_SECRET": SECRET,
            }
            compare(options)


def compare(options: argparse.Namespace) -> None:
    """Measure each server that is installed, and print the medians."""
    manage = [sys.executable, str(Path(__file__).parents[2] / "manage.py")]
    for step in ("migrate", "bootstrap"):
        subprocess.run([*manage, step], check=True, stdout=subprocess.DEVNULL)
    from api.access import api_key

    candidates = ["granian", "gunicorn"] if importlib.util.find_spec("gunicorn") else ["granian"]
    for server in candidates:
        shape = {"workers": options.workers, "threads": options.threads}
        with (
            serving(server, "tests.bench.hello:application", "/hello", **shape) as hello,
            serving(server, "api.wsgi:application", "/health/ready", **shape) as door,
        ):
            rates: dict[str, list[float]] = {}
            tails: dict[str, list[str]] = {}
            for number in range(options.rounds):
                post = WRK_POST % {"run": f"{server}{number}", "key": api_key(CLIENT_ID, SECRET), "site": SITECODE}
                loads = {
                    "hello": (hello, "/hello", None),
                    "ingest": (door, "/segmentio", post),
                    "read": (door, f"/map/map?siteCode={SITECODE}&key=IDENTIFY_user-1", None),
                }
                for name, (port, path, script) in loads.items():
                    rate, tail, trouble = measure(
                        port, path, script, seconds=options.seconds, connections=options.connections
                    )
                    rates.setdefault(name, []).append(rate)
                    tails.setdefault(name, []).append(tail)
                    if trouble:
                        print(f"{server} {name}: {trouble}")
        yardstick = statistics.median(rates["hello"])
        for name, each in rates.items():
            median = statistics.median(each)
            ratio, tail = median / yardstick, " ".join(tails[name])
            print(f"{server:9} {name:7} {median:8.0f} req/s  {ratio:5.2f} x hello  p99 {tail}")


if __name__ == "__main__":
    main()

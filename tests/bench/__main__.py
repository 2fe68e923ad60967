"""All benches, one after the other, and one table of what they found.

    python -m tests.bench [--full] [--json FILE]

Ten minutes on a quiet machine of two cores; --full takes an hour, with medians of five everywhere, 10000000
conversions and a soak of ten minutes. Each program runs alone too: `python -m tests.bench.digest --help`.
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from api.management.commands.up import STOP_SIGNALS
from tests.bench.figures import load, parser, print_table
from tests.bench.load import need_wrk

QUICK = {
    "doors": "--rounds 3 --seconds 2 --workers 1 2",
    "batches": "--rounds 3 --seconds 2 --events 20000",
    "digest": "--rounds 3 --events 10000",
    "lag": "--rounds 3 --seconds 6 --probes 20",
    "growth": "--rounds 1 --seconds 2",
    "soak": "--minutes 2 --warm-up 20",
    "bulk": "--events 100000",
}
FULL = {
    "doors": "--workers 1 2 4",
    "batches": "",
    "digest": "",
    "lag": "",
    "growth": "--sizes 10000 100000 1000000 10000000",
    "soak": "",
    "bulk": "",
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--full", action="store_true")
    given = options.parse_args()
    need_wrk()
    with tempfile.TemporaryDirectory(prefix="goalpost-bench-") as name:
        found = given.json or Path(name) / "figures"
        found.touch()
        known = len(load(found))
        failed = ""
        for program, arguments in (FULL if given.full else QUICK).items():
            print(f"{program} {arguments}", flush=True)
            if run(program, [*arguments.split(), "--json", str(found)]):
                failed = program
                break
            print(flush=True)
        print_table(load(found)[known:])
        sys.exit(f"{failed} did not end well" if failed else 0)


def run(program: str, arguments: list[str]) -> int:
    """A bench's exit code. It gets our signals, and has the time to stop its servers."""
    child = subprocess.Popen([sys.executable, "-m", f"tests.bench.{program}", *arguments])
    for each in STOP_SIGNALS:
        signal.signal(each, lambda number, _: child.send_signal(number))
    return child.wait()


if __name__ == "__main__":
    main()

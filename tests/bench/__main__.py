"""Command that runs all benches in turn and prints one table of their figures.

    python -m tests.bench [--full] [--json FILE]

It takes ten minutes on a quiet machine of two cores. `--full` takes an hour: medians of five rounds, 10000000
conversions and a soak of ten minutes. Each bench also runs alone, for example `python -m tests.bench.digest --help`.
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from api.management.commands.up import STOP_SIGNALS
from tests.bench.figures import load, make_parser, print_table
from tests.bench.load import require_wrk

QUICK = {
    "hot_paths": "--rounds 3 --seconds 2 --workers 1 2",
    "batches": "--rounds 3 --seconds 2 --events 20000",
    "digest": "--rounds 3 --events 10000",
    "lag": "--rounds 3 --seconds 6 --probes 20",
    "growth": "--rounds 1 --seconds 2",
    "soak": "--minutes 2 --warm-up 20",
    "bulk": "--events 100000",
}
FULL = {
    "hot_paths": "--workers 1 2 4",
    "batches": "",
    "digest": "",
    "lag": "",
    "growth": "--sizes 10000 100000 1000000 10000000",
    "soak": "",
    "bulk": "",
}


def main() -> None:
    options = make_parser(__doc__)
    options.add_argument("--full", action="store_true")
    given = options.parse_args()
    require_wrk()
    with tempfile.TemporaryDirectory(prefix="goalpost-bench-") as name:
        figures = given.json or Path(name) / "figures"
        figures.touch()
        known = len(load(figures))
        failed = ""
        for program, arguments in (FULL if given.full else QUICK).items():
            print(f"{program} {arguments}", flush=True)
            if run(program, [*arguments.split(), "--json", str(figures)]):
                failed = program
                break
            print(flush=True)
        print_table(load(figures)[known:])
        sys.exit(f"{failed} did not end well" if failed else 0)


def run(program: str, arguments: list[str]) -> int:
    """Run a bench and return its exit code. Forward signals to it, so that it stops its servers."""
    child = subprocess.Popen([sys.executable, "-m", f"tests.bench.{program}", *arguments])
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, lambda number, _: child.send_signal(number))
    return child.wait()


if __name__ == "__main__":
    main()

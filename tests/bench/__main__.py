"""Command that runs all benches in turn, prints one table of their figures, and says what changed since the last run.

    python -m tests.bench [--full] [--only NAME ...] [--list] [--before DIR] [--json FILE]

It takes ten minutes on a quiet machine of two cores. `--full` takes over an hour: medians of five rounds, 10000000
conversions, a million pruned messages and a soak of ten minutes. `--before` compares with another checkout and takes
twice as long. Each bench also runs alone, for example `python -m tests.bench.digest --help`.

The figures of the last run are in .build/bench. A change is that of the ratio to the yardstick, if there is one.
"""

import importlib
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from api.management.commands.up import STOP_SIGNALS
from tests.bench.figures import load, make_parser, print_table, save
from tests.bench.load import require_wrk
from tests.bench.stage import ROOT, add_before

KEPT: Final = ROOT / ".build" / "bench"
QUICK: Final = {
    "hot_paths": "--rounds 2 --seconds 1 --workers 1 2 4",
    "sdk": "--rounds 2 --seconds 1",
    "batches": "--rounds 2 --seconds 1 --events 5000 --sizes 1 100",
    "digest": "--rounds 2 --events 10000",
    "wal": "--events 5000 --top 8",
    "segments": "--rounds 1 --events 5000",
    "lag": "--rounds 2 --seconds 4 --probes 20 --rates 100 --waiting 300",
    "slow": "--rounds 2 --seconds 5",
    "streams": "--rounds 1 --seconds 5 --changes 2",
    "growth": "--rounds 1 --seconds 2 --sizes 10000 100000",
    "kept": "--events 20000 --slices 2",
    "soak": "--minutes 1 --warm-up 15",
    "bulk": "--events 50000",
    "validity": "--runs 200 --years 5",
}
FULL: Final = {
    "hot_paths": "--workers 1 2 4",
    "sdk": "--rounds 5 --seconds 5",
    "batches": "",
    "digest": "",
    "wal": "",
    "segments": "--what cost fill midnight storm --rounds 5 --events 20000",
    "lag": "",
    "slow": "",
    "streams": "",
    "growth": "--sizes 10000 100000 1000000 10000000",
    "kept": "--events 1000000",
    "soak": "",
    "bulk": "",
    "validity": "",
}
INTERRUPTED: Final = 128 + signal.SIGINT
COMPARABLE: Final = {"hot_paths", "batches", "digest", "wal", "lag", "slow", "kept"}


def main() -> None:
    options = make_parser(__doc__)
    options.add_argument("--full", action="store_true")
    options.add_argument("--only", nargs="+", choices=QUICK, default=list(QUICK), metavar="NAME")
    options.add_argument("--list", action="store_true", help="print the names of the benches and end")
    add_before(options)
    given = options.parse_args()
    if given.list:
        for name in QUICK:
            print(f"{name:10} {describe(name)}")
        return
    require_wrk()
    last = KEPT / ("full.json" if given.full else "quick.json")
    with tempfile.TemporaryDirectory(prefix="goalpost-bench-") as name:
        figures = given.json or Path(name) / "figures"
        known, failed = len(load(figures)), []
        for program in given.only:
            arguments = (FULL if given.full else QUICK)[program]
            if given.before and program in COMPARABLE:
                arguments += f" --before {given.before}"
            print(f"{program} {arguments}", flush=True)
            began = time.monotonic()
            code = run(program, [*arguments.split(), "--json", str(figures)])
            print(f"{program} took {time.monotonic() - began:.0f} s", flush=True)
            failed += [program] if code else []
            if code == INTERRUPTED:
                break
            print(flush=True)
        done = load(figures)[known:]
    print_table(done, load(last))
    save([*load(last), *done], last)
    sys.exit(f"these did not end well: {', '.join(failed)}" if failed else 0)


def describe(program: str) -> str:
    """Return the first line of a bench's docstring."""
    return (importlib.import_module(f"tests.bench.{program}").__doc__ or "").partition("\n")[0]


def run(program: str, arguments: list[str]) -> int:
    """Run a bench and return its exit code. Forward signals to it, so that it stops its servers."""
    child = subprocess.Popen([sys.executable, "-m", f"tests.bench.{program}", *arguments])
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, lambda number, _: child.send_signal(number))
    return child.wait()


if __name__ == "__main__":
    main()

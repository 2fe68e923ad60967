"""Command that runs the chaos scenarios on their full scale against a temporary Goalpost and prints the ledgers.

    python -m tests.chaos [--scenario NAME] [--seed N] [--short]

The exit code is 1 if a figure differs. The long form takes about half an hour, most of it real outages and faults.
The scenario `clock` needs Debian's package libfaketime. The scenario `disk` needs the right to mount a file system.
"""

import argparse
import logging
import os
import random
import sys
import tempfile
from pathlib import Path

import django


def main() -> int:
    os.environ |= {"DJANGO_SETTINGS_MODULE": "api.settings", "GOALPOST_SECRET_KEY": "only for chaos"}
    django.setup()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from tests.chaos.scenarios import LONG, SHORT
    from tests.chaos.stack import running_stack

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=LONG, action="append", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="seed of the random choices")
    parser.add_argument("--short", action="store_true", help="on the scale of `make test`")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    differences = 0
    with tempfile.TemporaryDirectory(prefix="goalpost-chaos-") as name, running_stack(Path(name)) as stack:
        for scenario in options.scenario or LONG:
            ledger = (SHORT if options.short else LONG)[scenario](stack, random.Random(options.seed))
            print(f"\n{ledger}", flush=True)
            differences += len(ledger.differences)
        print("\nmanage.py verify", flush=True)
        is_verified = stack.verify()
    return 1 if differences or not is_verified else 0


if __name__ == "__main__":
    sys.exit(main())

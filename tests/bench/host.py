"""Program that runs the servers of a checkout with the checkout's own code, until SIGTERM.

    cd CHECKOUT && PYTHONPATH=CHECKOUT python -P …/tests/bench/host.py DATA_DIR

`DATA_DIR/host.json` appears when the database is migrated. It holds the addresses of the servers, the process id of
PostgreSQL, and the commands with which `manage.py up` of the checkout starts web, worker and beat.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import django

from api.runtime.embedded import free_port, servers
from api.runtime.processes import claim

# wal_keep_size: the bench of the write-ahead log reads segments that a checkpoint would recycle.
CONFIGURATION = """
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = 'none'
wal_keep_size = '2GB'
"""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    directory = Path(sys.argv[1])
    with claim(directory) as lock:
        with servers(directory, lock=lock, wanted=["DATABASE_URL"]):
            pass  # the first start creates the cluster, which is configured below
        with (directory / "postgresql" / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION)
        with servers(directory, lock=lock) as running:
            environment = {**running.environment, "GOALPOST_DATA_DIR": str(directory)}
            os.environ |= {**environment, "GOALPOST_HOST": "127.0.0.1", "GOALPOST_PORT": str(free_port())}
            subprocess.run([sys.executable, "manage.py", "prepare"], check=True, stdout=subprocess.DEVNULL)
            django.setup()
            ready = {"environment": environment, "postgresql": running.children[0].process.pid, **prepare()}
            unfinished = directory / "host.json.new"
            unfinished.write_text(json.dumps(ready))
            unfinished.rename(directory / "host.json")
            signal.pause()


def prepare() -> dict[str, object]:
    """Lift the limits of the first site, and return its ids and the commands of the processes.

    Benches measure the machine, and send 60 new goal names at once.
    """
    from django.db import connection

    from api.management.commands import up  # needs the settings
    from api.models import Site, Source
    from api.models.budgets import BUDGET_FIELDS, MAX_BUDGET

    site = Site.objects.get()
    Site.objects.update(goals_per_10_seconds=1_000_000, goals_per_hour=1_000_000)
    Source.objects.update(**dict.fromkeys(BUDGET_FIELDS, MAX_BUDGET))
    source = Source.objects.get(site=site)
    with connection.cursor() as cursor:
        for extension in ("pg_stat_statements", "pg_walinspect"):
            cursor.execute(f"CREATE EXTENSION {extension}")
    connection.close()
    commands = {"web": up.web_command(), "worker": up.worker_command(), "beat": up.beat_command()}
    return {"site_id": site.pk, "source_id": source.pk, "commands": commands}


if __name__ == "__main__":
    main()

"""A PostgreSQL cluster with all migrations, which `.build` keeps: each run of the tests starts on a copy of it."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg

from api.runtime.embedded import DATABASE, servers
from api.runtime.processes import claim

ROOT: Final = Path(__file__).parents[1]
KEPT: Final = ROOT / ".build" / "migrated"
TEMPLATE: Final = "goalpost_migrated"  # beside the database that the servers make themselves, which stays empty
# Causes of another content, as migrations are: the applications, the way to make a cluster, the versions.
CAUSES: Final = ("api/settings.py", "api/runtime/embedded.py", "requirements-dev.txt")


def copy_cluster(data_dir: Path) -> None:
    """Put a cluster with the database TEMPLATE below an empty data directory, in half a second.

    The first copy after a change of migrations takes their time, and a minute at most. Other runs wait for it.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / compute_key()
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            for outdated in KEPT.glob("*/"):
                shutil.rmtree(outdated)
            _make_cluster(kept)
        # shutil.copytree() would lose the owner, who is not root.
        subprocess.run(["cp", "-a", kept, data_dir / "postgresql"], check=True)


def compute_key() -> str:
    """Return a digest of all that decides about the content. A migration lays out partitions from the day on."""
    migrations = (path for package in ("api", "goals", "cohorts") for path in (ROOT / package).rglob("migrations/*.py"))
    paths = sorted([*migrations, *(ROOT / name for name in CAUSES)])
    digest = hashlib.sha256(datetime.now(UTC).date().isoformat().encode())
    for path in paths:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _make_cluster(kept: Path) -> None:
    """Migrate a new cluster, and move it to its place when it is whole."""
    directory = kept.with_suffix(".new")
    environment = {"GOALPOST_DATA_DIR": str(directory), "GOALPOST_SECRET_KEY": "only for tests"}
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    with claim(directory) as lock, servers(directory, lock=lock, wanted=["DATABASE_URL"], throwaway=True) as running:
        subprocess.run(command, cwd=ROOT, env=os.environ | environment | running.environment, check=True)
        address = running.environment["DATABASE_URL"].replace(f"/{DATABASE}?", "/postgres?")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {DATABASE} RENAME TO {TEMPLATE}")
    (directory / "postgresql").rename(kept)
    shutil.rmtree(directory)

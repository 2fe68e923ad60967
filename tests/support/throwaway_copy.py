"""Throw-away copy of the product, in which a test follows a recipe of CONTRIBUTING.md."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection


@dataclass
class Copy:
    """The copy, and the files that the recipe has touched in it."""

    folder: Path
    files: set[str] = field(default_factory=set)

    def insert(self, path: str, text: str, *, after: str) -> None:
        """Insert a text after the one place of another text in a file."""
        self.files.add(path)
        file = self.folder / path
        before, found, rest = file.read_text().partition(after)
        assert found, f"{path} has no {after!r}"
        assert after not in rest, f"{path} has several {after!r}"
        file.write_text(before + after + text + rest)

    def run(self, script: str) -> str:
        """Run Python with the copy's settings on the database of the tests, and return what it printed."""
        place, _, options = os.environ["DATABASE_URL"].partition("?")
        database = f"{place.rpartition('/')[0]}/{connection.settings_dict['NAME']}?{options}"
        environment = {**os.environ, "DATABASE_URL": database, "DJANGO_SETTINGS_MODULE": "api.settings"}
        setup = "import django\ndjango.setup()\n"
        done = subprocess.run(
            [sys.executable, "-c", setup + script],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

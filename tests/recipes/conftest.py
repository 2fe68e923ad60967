"""A throw-away copy of the product, in which a test follows a recipe of CONTRIBUTING.md."""

import shutil
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.throwaway_copy import Copy

PARTS = (
    "api",
    "goals",
    "cohorts",
    "manage.py",
    "names.py",
    "locks.py",
    "times.py",
    "arrays.py",
    "site_rows.py",
    "zones.py",
    "sessions.py",
)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    ignore = shutil.ignore_patterns("__pycache__", "static", "*.svg")
    for part in PARTS:
        source, target = settings.BASE_DIR / part, tmp_path / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy(source, target)
    return Copy(tmp_path)

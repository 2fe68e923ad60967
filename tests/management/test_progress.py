"""Progress of long commands, with and without a terminal."""

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from django.core.management.base import OutputWrapper

from api.management import progress as module
from api.management.progress import progress
from tests.contract.server import ROOT

SCRIPT = """
import sys
from django.core.management.base import OutputWrapper
from api.management.progress import progress
with progress(OutputWrapper(sys.stdout), "past.jsonl", total=200) as report:
    report(100, "7 lines", "news")
"""


def parts(terminal: int) -> Iterator[bytes]:
    """Yield what is written to a terminal until its last writer has closed it."""
    with suppress(OSError):
        while part := os.read(terminal, 65_536):
            yield part


@pytest.mark.parametrize(
    ("seconds", "lines"), [(0, ["past: 50%, 1 line", "news", "past: 100%, 2 lines"]), (99, ["news"])]
)
def test_progress__where_no_terminal_is__is_a_plain_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, seconds: float, lines: list[str]
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", seconds)
    out = io.StringIO()
    with progress(OutputWrapper(out), "past", total=4) as report:
        report(2, "1 line")
        report(2, "1 line")
        report(4, "2 lines", "news")
    assert out.getvalue().splitlines() == lines


def test_progress__in_a_terminal__is_a_bar_with_news_above_it() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, stdout=theirs) as child:
        os.close(theirs)
        shown = b"".join(parts(ours)).decode()
    os.close(ours)
    assert child.returncode == 0
    assert re.search(r"past\.jsonl.*50%.*7 lines", shown)
    assert re.search(r"(^|\n|\r)news\r?\n", shown)

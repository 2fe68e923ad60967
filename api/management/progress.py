"""How far a long command has come: a bar where a terminal shows it, elsewhere a plain line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from django.core.management.base import OutputWrapper
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

EVERY: Final = 10.0  # seconds between two plain lines

Tell = Callable[[float, str], None]  # how much of the total is done, and that in words


@contextmanager
def progress(out: OutputWrapper, what: str, *, total: float | None) -> Iterator[Tell]:
    """Give a function to tell how far it is; `total` is None where nobody knows."""
    if out.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[words]}"), transient=True) as bar:
            task = bar.add_task(what, total=total, words="")
            yield lambda done, words: bar.update(task, completed=done, words=words)
    else:
        said, at = "", time.monotonic()

        def tell(done: float, words: str) -> None:
            nonlocal said, at
            if time.monotonic() - at >= EVERY and words != said:
                out.write(f"{what}: {f'{done / total:.0%}, ' if total else ''}{words}")
                out.flush()
                said, at = words, time.monotonic()

        yield tell

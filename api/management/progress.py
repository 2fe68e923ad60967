"""How far a long command has come: a bar where a terminal shows it, elsewhere a plain line now and then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from django.core.management.base import OutputWrapper
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

EVERY: Final = 10.0  # seconds between two plain lines


class Tell(Protocol):
    """Tells how much of the total is done, and that in words; news stand in a line of their own, at once."""

    def __call__(self, done: float, words: str, news: str = "") -> None: ...


@contextmanager
def progress(out: OutputWrapper, what: str, *, total: float | None) -> Iterator[Tell]:
    """Give a function to tell how far it is; `total` is None where nobody knows."""
    if out.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[words]}"), transient=True) as bar:
            task = bar.add_task(what, total=total, words="")

            def draw(done: float, words: str, news: str = "") -> None:
                if news:
                    bar.console.print(news, highlight=False)
                bar.update(task, completed=done, words=words)

            yield draw
    else:
        said, at = "", time.monotonic()

        def write(done: float, words: str, news: str = "") -> None:
            nonlocal said, at
            if news:
                out.write(news)
            if time.monotonic() - at >= EVERY and words != said:
                out.write(f"{what}: {f'{done / total:.0%}, ' if total else ''}{words}")
                said, at = words, time.monotonic()
            out.flush()

        yield write

"""Progress of a long command: a bar in a terminal, elsewhere a plain line every ten seconds."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from django.core.management.base import OutputWrapper
from tqdm import tqdm

LINE_SECONDS: Final = 10.0  # between two plain lines


class Report(Protocol):
    """Function that shows how much of the total is done, as a number and in words; news get a line of their own."""

    def __call__(self, done: float, words: str, news: str = "") -> None: ...


@contextmanager
def progress(out: OutputWrapper, title: str, *, total: float | None) -> Iterator[Report]:
    """Yield a function that reports progress; `total` is None if it is unknown."""
    if out.isatty():
        layout = "{desc}: {percentage:.0f}%|{bar}| {remaining} left{postfix}" if total else "{desc}: {elapsed}{postfix}"
        columns, rows = shutil.get_terminal_size()  # tqdm itself shows nothing in a terminal without a size
        with tqdm(
            desc=title,
            total=total,
            bar_format=layout,
            miniters=0,
            leave=False,
            file=sys.stdout,
            ncols=columns,
            nrows=rows,
        ) as bar:

            def draw(done: float, words: str, news: str = "") -> None:
                bar.set_postfix_str(words, refresh=False)
                bar.update(done - bar.n)
                if news:
                    bar.write(news, file=sys.stdout)

            yield draw
    else:
        # By hand: into a file or a log, tqdm writes its bar again and again.
        last_words, last_at = "", time.monotonic()

        def write(done: float, words: str, news: str = "") -> None:
            nonlocal last_words, last_at
            if news:
                out.write(news)
            if time.monotonic() - last_at >= LINE_SECONDS and words != last_words:
                out.write(f"{title}: {f'{done / total:.0%}, ' if total else ''}{words}")
                last_words, last_at = words, time.monotonic()
            out.flush()

        yield write

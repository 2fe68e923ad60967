"""Replacement of `time.sleep` under libfaketime: its `clock_nanosleep` fails after the clock was set ahead."""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex) -> None:
    select.select([], [], [], seconds if isinstance(seconds, float) else int(seconds))


time.sleep = sleep

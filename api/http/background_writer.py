"""Thread of a process that writes what requests noted, at once and then once a minute at most."""

import threading
import time
from typing import Final

import psycopg
import structlog

log = structlog.get_logger(__name__)


class BackgroundWriter:
    """Base of objects that collect notes in memory and write them in a thread.

    A process that ends does not write its last minute, and neither does a failed write.
    """

    name: str
    interval: float = 60.0  # seconds

    def __init__(self) -> None:
        self._requested: Final = threading.Event()
        threading.Thread(target=self._work, name=self.name, daemon=True).start()

    def request_write(self) -> None:
        """Have the thread write soon. Returns at once."""
        if not self._requested.is_set():
            self._requested.set()

    def write(self) -> None:
        """Write what was noted. Raises psycopg.Error."""
        raise NotImplementedError

    def _work(self) -> None:
        while True:
            self._requested.wait()
            self._requested.clear()
            try:
                self.write()
            except psycopg.Error as error:
                log.warning("background_writer.failed", name=self.name, error=type(error).__name__)
            time.sleep(self.interval)

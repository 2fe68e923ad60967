"""Hashing of passwords, in one thread of the lowest priority."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from api.http.database import once

# Under a flood of wrong passwords, the p99 of events was 150 ms without this, and 60 to 120 ms with it.
LOWEST_PRIORITY: Final = 19


class Hasher(PBKDF2PasswordHasher):
    """Django's default hasher, whose hashes stay as they are."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Hash a password in its own thread. It takes most of a second of one core, without the interpreter lock."""
        encoded: str = hashing().submit(super().encode, password, salt, iterations).result()
        return encoded


@once
def hashing() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="passwords", initializer=lower_priority)


def lower_priority() -> None:
    """Give this thread the lowest priority. Only Linux has priorities of threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)

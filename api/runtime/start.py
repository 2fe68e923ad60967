"""Start of every process: a bad setting ends it with one line instead of a traceback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from environs import EnvError


@contextmanager
def one_line() -> Iterator[None]:
    """Read the settings, run the block, and end this process with a line that names the setting if one is bad."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api.settings")
    try:
        settings.INSTALLED_APPS  # noqa: B018 - reads them
        yield
    except (ImproperlyConfigured, EnvError, PermissionError) as error:
        sys.exit(f"goalpost: {error}")

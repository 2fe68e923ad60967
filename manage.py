#!/usr/bin/env python
"""Goalpost's command line: `python manage.py help` lists what it can do."""

import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from environs import EnvError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api.settings")
    try:
        settings.INSTALLED_APPS  # noqa: B018 - reads the settings: a bad value is a sentence, not a traceback
    except (ImproperlyConfigured, EnvError, PermissionError) as error:
        sys.exit(f"goalpost: {error}")
    execute_from_command_line(sys.argv)

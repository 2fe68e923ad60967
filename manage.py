#!/usr/bin/env python
"""Goalpost's command line: `python manage.py help` lists what it can do."""

import sys

from django.core.management import execute_from_command_line

from api.runtime.start import one_line

if __name__ == "__main__":
    with one_line():
        execute_from_command_line(sys.argv)

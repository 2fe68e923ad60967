"""The Celery application: nudges, schedules and nothing that would be missed (PostgreSQL holds the truth)."""

import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api.settings")

app = Celery("goalpost")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["api.digest"])


@setup_logging.connect
def keep_our_logging(**_: object) -> None:
    """Celery would replace the log configuration; a listener here stops it."""

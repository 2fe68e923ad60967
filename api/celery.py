"""The Celery application: nudges and schedules, which may get lost, because PostgreSQL holds the truth."""

from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from celery.signals import setup_logging
from kombu import Connection

from api.runtime.start import one_line


class PromptConnection(Connection):
    """Reconnects to a lost broker every few seconds: kombu's pauses grow to 30 s, and Celery has no setting for it."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        return super().ensure_connection(*args, **{"interval_max": 3, **kwargs})


class PromptAMQP(AMQP):
    Connection = PromptConnection


app = Celery("goalpost", amqp=PromptAMQP)
with one_line():
    app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["api"])


@setup_logging.connect
def keep_log_configuration(**_: object) -> None:
    """Keep Celery from replacing the log configuration, which it does unless this signal has a receiver."""

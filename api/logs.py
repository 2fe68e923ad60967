"""Logs: structured lines named `entity.action`, with ids only and never a body, a secret or personal data."""

import logging
import logging.config
import traceback
from typing import Any, Final

import structlog


def name_exception(exc_info: Any) -> str:
    """Return an exception's traceback and type without its message, which may quote ids, keys or bodies."""
    kind, error, trace = exc_info
    state = getattr(error, "sqlstate", None) or getattr(getattr(error, "__cause__", None), "sqlstate", None)
    name = f"{kind.__module__}.{kind.__qualname__}" + (f" (SQLSTATE {state})" if state else "")
    return "".join(traceback.format_tb(trace)) + name


class NameOnly(logging.Filter):
    """Filter for loggers whose messages quote request paths or exceptions: the name of the logger remains."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = f"{record.name}.failed", ()
        return True


SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": SHARED,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(name_exception),
                structlog.processors.JSONRenderer(),
            ],
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "filters": {"name_only": {"()": NameOnly}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django.request": {"level": "ERROR", "filters": ["name_only"]},
        "celery.app.trace": {"level": "ERROR", "filters": ["name_only"]},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "celery": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
    },
}


def configure(config: dict[str, Any]) -> None:
    """Set up the standard library's logging and structlog on top of it (settings.LOGGING_CONFIG)."""
    logging.config.dictConfig(config)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )

"""Log lines without secrets, bodies and personal data."""

import json
import logging

import pytest
import structlog

from api.logs import LOGGING, NameOnly, name_exception


def test_exception__with_personal_data_in_its_message__is_named_only() -> None:
    try:
        raise KeyError(EMAIL)
    except KeyError as error:
        text = name_exception((type(error), error, error.__traceback__))

    assert EMAIL not in text
    assert text.endswith("builtins.KeyError")
    assert "test_logs.py" in text


EMAIL = "u@" + "example.com"


@pytest.mark.parametrize("name", ["django.request", "celery.app.trace"])
def test_logger__whose_messages_quote_paths__keeps_its_name_only(name: str) -> None:
    record = logging.LogRecord(name, logging.ERROR, "x", 1, "failed: %s", ("/map/u@example.com",), None)

    assert LOGGING["loggers"][name]["filters"] == ["name_only"]
    assert NameOnly().filter(record)
    assert record.getMessage() == f"{name}.failed"


def test_formatter__exception_of_ours__is_one_json_line_without_the_message() -> None:
    settings = dict(LOGGING["formatters"]["json"])
    formatter = settings.pop("()")(**settings)
    try:
        raise ValueError(EMAIL)
    except ValueError as error:
        exc_info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("api.x", logging.ERROR, "x", 1, {"event": "thing.failed"}, (), exc_info)
    record._from_structlog = True
    record._name = "error"

    line = formatter.format(record)

    assert EMAIL not in line
    assert "ValueError" in json.loads(line)["exception"]
    assert structlog.is_configured()

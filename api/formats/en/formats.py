"""Formats of the admin: times to the second, in UTC (settings.FORMAT_MODULE_PATH)."""

DATETIME_FORMAT = "Y-m-d H:i:s e"

"""How the admin shows a time: to the second, in UTC, the same to everybody (settings.FORMAT_MODULE_PATH)."""

DATETIME_FORMAT = "Y-m-d H:i:s e"

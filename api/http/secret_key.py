"""The fingerprint of the secret key in the database, so that no process writes under another key."""

import hmac
from typing import Any

import psycopg
from django.conf import settings


class OtherKeyError(psycopg.OperationalError):
    """Raised by a session if the secret key of the process is not that of the database."""


def fingerprint() -> str:
    """Return 16 hexadecimal digits that differ for each secret key and reveal nothing of it."""
    return hmac.digest(settings.SECRET_KEY.encode(), b"api.secret_key.fingerprint", "sha256").hex()[:16]


def require_same_key(session: psycopg.Connection[Any]) -> None:
    """Raise OtherKeyError if the database has recorded another key. Without a record, every key is right. One query."""
    try:
        row = session.execute("SELECT value FROM api_keyfingerprint").fetchone()
    except psycopg.errors.UndefinedTable:  # not migrated yet
        return
    if row is not None and row[0] != fingerprint():
        raise OtherKeyError(explain(row[0]))


def explain(recorded: str) -> str:
    """Return one line that names the wrong key, the loss that it would cause, and the remedy."""
    return (
        f"the secret key in {settings.SECRET_KEY_PLACE} is not the one of this database ({fingerprint()}, not "
        f"{recorded}). "
        "Under it people who were erased would be taken in again, hashed fields would get other values, and sessions "
        "and access tokens would end. Restore the key from a backup. If it is lost, start once with "
        f"GOALPOST_ACCEPT_KEY={fingerprint()}"
    )

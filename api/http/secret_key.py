"""The secret key's fingerprint, kept in the database: nothing is written under another key than its data were."""

import hmac
from typing import Any

import psycopg
from django.conf import settings


class OtherKeyError(psycopg.OperationalError):
    """Raised by a session of a process whose secret key is not that of the database."""


def fingerprint() -> str:
    """Return 16 hexadecimal digits that tell one secret key from another and reveal nothing of it."""
    return hmac.digest(settings.SECRET_KEY.encode(), b"api.secret_key.fingerprint", "sha256").hex()[:16]


def require_same_key(session: psycopg.Connection[Any]) -> None:
    """Raise OtherKeyError if the database has recorded another key. One query. Without a record every key is right."""
    try:
        row = session.execute("SELECT value FROM api_keyfingerprint").fetchone()
    except psycopg.errors.UndefinedTable:  # not migrated yet
        return
    if row is not None and row[0] != fingerprint():
        raise OtherKeyError(explain(row[0]))


def explain(recorded: str) -> str:
    """Return one line: which key is wrong, what would be lost under it, and how to go on."""
    return (
        f"the secret key in {settings.SECRET_KEY_PLACE} is not the one of this database ({fingerprint()}, not "
        f"{recorded}). "
        "Under it people who were erased would be taken in again, hashed fields would get other values, and sessions "
        "and access tokens would end. Restore the key from a backup. If it is lost, start once with "
        f"GOALPOST_ACCEPT_KEY={fingerprint()}"
    )

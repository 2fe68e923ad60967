"""Erasures of people, and the places that still hold a text."""

import time
from datetime import UTC, datetime

from django.db import connection

from api.erasure import erase
from api.models import Erasure


def finish_erasures() -> None:
    """Sweep, as the worker does every few seconds, until all erasures are finished."""
    deadline = time.monotonic() + 60
    while Erasure.objects.filter(finished_at=None).exists():
        if not erase.sweep(now=datetime.now(UTC)):
            assert time.monotonic() < deadline, "waited a minute in vain"
            time.sleep(0.05)


def places_with(*texts: str) -> list[tuple[str, str]]:
    """Return the columns of all tables that hold one of these texts, with the text. Sessions are left out."""
    places = []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT table_name, column_name, data_type FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name NOT LIKE 'django_%%' AND table_name NOT LIKE 'auth_%%'
               AND table_name NOT IN (SELECT relname FROM pg_class WHERE relispartition)
            """
        )
        for table, column, type_ in cursor.fetchall():
            name = f'"{column}"'
            text = f"encode({name}, 'escape')" if type_ == "bytea" else f"{name}::text"
            for sought in texts:
                cursor.execute(f'SELECT count(*) FROM "{table}" WHERE position(%s IN {text}) > 0', [sought])
                if cursor.fetchone()[0]:
                    places.append((table, f"{column}: {sought}"))
    return places

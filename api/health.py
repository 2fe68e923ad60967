"""Whether this process runs, and whether it can do its work."""

from functools import cache

from django.db.migrations.loader import MigrationLoader
from psycopg.errors import UndefinedTable

from api.database import DatabaseDownError, fetch_all
from api.door import Answer, Refusal, Request, json_answer, unavailable


def answer_live(_: Request) -> Answer:
    """The process answers."""
    return json_answer({"status": "ok"})


def answer_ready(_: Request) -> Answer:
    """The database answers and has every migration this code needs. Raises Refusal (503)."""
    try:
        applied = set(fetch_all("SELECT app, name FROM django_migrations WHERE %(all)s", {"all": True}))
    except DatabaseDownError as error:
        raise unavailable() from error
    except UndefinedTable:  # an empty database
        applied = set()
    missing = sorted(latest_migrations() - applied)
    if missing:
        names = ", ".join(f"{app}.{name}" for app, name in missing)
        raise Refusal(
            503, "not_migrated", f"Run `python manage.py migrate`; missing: {names}.", (("Retry-After", "5"),)
        )
    return json_answer({"status": "ok"})


@cache
def latest_migrations() -> frozenset[tuple[str, str]]:
    """The last migration of each app, read from the code once a process."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())

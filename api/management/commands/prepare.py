"""`manage.py prepare`: what must be done to a database before this version may serve from it."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection, transaction

from api.http.database import is_lock_timeout
from api.http.secret_key import explain, fingerprint
from api.models import KeyFingerprint
from api.models.audit import write_audit
from sessions import LockSpace, lock_until_commit, set_for_transaction

WAIT: Final = 3  # seconds for a lock: all who need the table wait behind it
PAUSE: Final = 3.0  # seconds
TRIES: Final = 50


class Command(BaseCommand):
    help = "Migrate the database, record its secret key and make the first site if there is none; safe to run again."
    requires_system_checks = ()

    def handle(self, **_: Any) -> None:
        self.migrate()
        record_key()
        call_command("bootstrap")

    def migrate(self) -> None:
        """Migrate, and begin again where another session holds a table for long: events wait behind a migration."""
        for attempt in range(1, TRIES + 1):
            try:
                with connection.execute_wrapper(wait_briefly):
                    call_command("migrate", verbosity=0)
            except OperationalError as error:
                if not is_lock_timeout(error):
                    raise
                if attempt == TRIES:
                    raise CommandError(
                        "another session holds a table that a migration changes; `manage.py doctor` names it"
                    ) from error
                self.stdout.write("prepare: another session holds a table; it is tried again")
                time.sleep(PAUSE)
            else:
                return


def wait_briefly(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Mapping[str, Any]) -> Any:  # noqa: FBT001 - Django's call
    """Limit the wait for a lock inside a transaction only, because a migration outside one cannot be rolled back."""
    if context["connection"].in_atomic_block:
        set_for_transaction({"lock_timeout": f"{WAIT}s"}, session=context["connection"].connection)
    return execute(sql, params, many, context)


def record_key() -> None:
    """Record the fingerprint of the secret key where there is none, or where GOALPOST_ACCEPT_KEY names this one.

    Raises CommandError if another one is recorded.
    """
    ours = fingerprint()
    with transaction.atomic():
        lock_until_commit(LockSpace.SECRET_KEY)
        known = KeyFingerprint.objects.first()
        if known is None:
            KeyFingerprint.objects.create(value=ours)
        elif known.value != ours:
            if ours != settings.ACCEPT_KEY:
                raise CommandError(explain(known.value))
            KeyFingerprint.objects.update(value=ours)
            write_audit("manage.py prepare", None, "Accepted another secret key", {"key": known.value}, {"key": ours})

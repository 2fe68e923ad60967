"""`manage.py prepare`: what must be done to a database before this version may serve from it."""

from typing import Any, Final

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from api.audit import record
from api.models import KeyFingerprint
from api.secret_key import explain, fingerprint

LOCK: Final = 0x474F414C6B6579  # two processes that start at once record one key


class Command(BaseCommand):
    help = "Migrate the database, record its secret key and make the first site if there is none; safe to run again."
    requires_system_checks = ()

    def handle(self, **_: Any) -> None:
        call_command("migrate", verbosity=0)
        record_key()
        call_command("bootstrap")


def record_key() -> None:
    """Record the fingerprint of the secret key where there is none, or where GOALPOST_ACCEPT_KEY names this one.

    Raises CommandError if another one is recorded.
    """
    ours = fingerprint()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        known = KeyFingerprint.objects.first()
        if known is None:
            KeyFingerprint.objects.create(value=ours)
        elif known.value != ours:
            if ours != settings.ACCEPT_KEY:
                raise CommandError(explain(known.value))
            KeyFingerprint.objects.update(value=ours)
            record(None, "Accepted another secret key", {"key": known.value}, {"key": ours}, who="manage.py prepare")

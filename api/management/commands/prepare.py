"""`manage.py prepare`: what must be done to a database before this version may serve from it."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Migrate the database and make the first site if there is none; safe to run again."
    requires_system_checks = ()

    def handle(self, **_: Any) -> None:
        call_command("migrate", verbosity=0)
        call_command("bootstrap")

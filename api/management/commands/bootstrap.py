"""The first site, its credential, its source and the administrator; does nothing where a site exists."""

import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from api.http.credentials import encode_api_key, generate_secret, generate_sitecode
from api.http.database import SessionKind, configure_open_connection
from api.ingest.provisioning import create_credential, create_site
from api.models import Scope, Site
from api.models.audit import write_audit
from api.runtime.secret_files import write_secret
from api.settings import env
from sessions import LockSpace, lock_until_commit

URL_SAFE_SECRET = re.compile(r"[A-Za-z0-9_-]+\Z")


class Command(BaseCommand):
    help = "Make the first site, its credential, its source and the administrator. Safe to run at every start."

    def handle(self, *_: Any, **__: Any) -> None:
        configure_open_connection(SessionKind.COMMAND)  # another start may take its time
        first = {
            "GOALPOST_SITECODE": env.str("GOALPOST_SITECODE", "") or generate_sitecode(),
            "GOALPOST_CLIENT_ID": env.str("GOALPOST_CLIENT_ID", "") or generate_secret()[:16],
            "GOALPOST_CLIENT_SECRET": env.str("GOALPOST_CLIENT_SECRET", "") or generate_secret(),
            "GOALPOST_WRITE_KEY": env.str("GOALPOST_WRITE_KEY", "") or generate_secret(),
            "GOALPOST_ADMIN_USER": env.str("GOALPOST_ADMIN_USER", "admin"),
            "GOALPOST_ADMIN_PASSWORD": env.str("GOALPOST_ADMIN_PASSWORD", "") or generate_secret(),
        }
        if not URL_SAFE_SECRET.match(first["GOALPOST_CLIENT_SECRET"]):
            raise CommandError(
                "GOALPOST_CLIENT_SECRET may hold letters, digits, _ and - only: Segment puts it in a URL unencoded."
            )
        path = settings.DATA_DIR / "first-site.env"
        try:
            with transaction.atomic():
                lock_until_commit(LockSpace.FIRST_SITE)
                if Site.objects.exists():
                    self.stdout.write("bootstrap: a site exists, nothing to do")
                    return
                self._create(first)
                # Inside the transaction: a site whose secrets were lost would be worse than no site.
                keep(path, first)
        except ValidationError as error:
            reasons = "; ".join(error.messages)
            raise CommandError(f"the first site cannot be made: {reasons} (check the GOALPOST_ variables)") from error
        except OSError as error:
            raise CommandError(f"cannot keep the first site's secrets in {path}: {error.strerror}") from error
        self.stdout.write(f"bootstrap: made the first site; {path} holds its names and secrets")
        if self.stdout.isatty():  # a person reads it; anything else would be a log, where no secret belongs
            key = encode_api_key(first["GOALPOST_CLIENT_ID"], first["GOALPOST_CLIENT_SECRET"])
            for name, value in {**first, "API key for Segment": key}.items():
                self.stdout.write(f"  {name}={value}")

    def _create(self, first: dict[str, str]) -> None:
        site = create_site(
            name="First site",
            sitecode=first["GOALPOST_SITECODE"],
            write_key=first["GOALPOST_WRITE_KEY"],
            public_traits=["plan"],
        )
        write_audit("manage.py bootstrap", site, "Created the first site", None, {"sitecode": site.sitecode})
        create_credential(
            [site],
            name="First credential",
            scopes=Scope.values,  # the tour in README.md sends, reads and manages with it
            client_id=first["GOALPOST_CLIENT_ID"],
            secret=first["GOALPOST_CLIENT_SECRET"],
        )
        users = get_user_model().objects
        if users.filter(username=first["GOALPOST_ADMIN_USER"]).exists():
            del first["GOALPOST_ADMIN_PASSWORD"]  # that person's stays as it is
        else:
            users.create_superuser(first["GOALPOST_ADMIN_USER"], password=first["GOALPOST_ADMIN_PASSWORD"])


def keep(path: Path, first: dict[str, str]) -> None:
    """Write the first site's names and secrets where only this user reads them."""
    write_secret(path, "".join(f"{name}={value}\n" for name, value in first.items()), replace=True)

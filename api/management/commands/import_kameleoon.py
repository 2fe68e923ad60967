"""`manage.py import_kameleoon`: goals, custom data and segments of a site at Kameleoon, goals with their ids."""

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from api.management import kameleoon_import
from api.management.commands.load_plan import find_site
from api.management.kameleoon_import import Ask, UnreadableExportError

SECRET: Final = "KAMELEOON_CLIENT_SECRET"  # noqa: S105 - the name of a variable
SECONDS: Final = 30.0
MOST_BYTES: Final = 67_108_864  # of an answer


class Command(BaseCommand):
    help = (
        "Import goals (with ids, names, tags and state), custom data and segments of a site at Kameleoon. FROM is a "
        f"directory with {kameleoon_import.GOALS}, {kameleoon_import.CUSTOM_DATA} and {kameleoon_import.SEGMENTS} in "
        f"the shapes of its Automation API, or the address of such a host; then --client-id and the variable {SECRET} "
        "open it. A segment becomes one here if its conditions are on custom data, converted goals and such segments. "
        f"A directory may also have {kameleoon_import.CONFIGURATION}, the file that SDKs read, with flags and the "
        "segments that they target. What exists is left alone: run it again to go on after an interruption."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sitecode", metavar="SITECODE", help="of the site here")
        parser.add_argument("source", metavar="FROM")
        parser.add_argument("--code", default="", help="of the site at the host, if it is another one")
        parser.add_argument("--client-id", default="")
        parser.add_argument("--dry-run", action="store_true", help="say what an import would do")

    def handle(self, *, sitecode: str, source: str, code: str, client_id: str, dry_run: bool, **_: Any) -> None:
        site = find_site(sitecode)
        try:
            if source.startswith(("https://", "http://")):
                ask = open_host(source.rstrip("/"), client_id, os.environ.get(SECRET, ""))
                export = kameleoon_import.read_host(ask, code or sitecode)
            else:
                if not Path(source).is_dir():
                    raise CommandError(f"{source} is no directory, and no address with https://")
                export = kameleoon_import.read_directory(Path(source))
        except (UnreadableExportError, OSError, ValueError) as error:
            raise CommandError(f"{source} cannot be read: {error}") from error
        report = kameleoon_import.import_export(site, export, now=timezone.now(), is_try=dry_run)
        limits = [
            *kameleoon_import.explain_goals(export.goals),
            *kameleoon_import.explain_custom_data(export.custom_data),
        ]
        for line in (*report.left_out, *limits):
            self.stderr.write(line)
        configuration = Path(source) / kameleoon_import.CONFIGURATION
        if configuration.exists():
            call_command(
                "import_flags", sitecode, str(configuration), dry_run=dry_run, stdout=self.stdout, stderr=self.stderr
            )
        verb = "would be created" if dry_run else "created"
        self.stdout.write(f"{report.created:,} {verb}, {report.existed:,} existed, {len(report.left_out):,} left out")


def open_host(address: str, client_id: str, secret: str) -> Ask:
    """Return a function that asks a host with an access token. Raises OSError, ValueError."""
    form = b"grant_type=client_credentials"
    basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    token, _ = _send(f"{address}/oauth/token", {"Authorization": f"Basic {basic}"}, form)
    if not isinstance(token, dict) or not isinstance(token.get("access_token"), str):
        raise UnreadableExportError("the host gave no access token")
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    return lambda path: _send(f"{address}{path}", headers)


def _send(address: str, headers: Mapping[str, str], form: bytes | None = None) -> tuple[Any, Mapping[str, str]]:
    """Return the JSON and the headers, in lower case, of an answer. Raises OSError, ValueError."""
    request = urllib.request.Request(address, form, dict(headers))  # noqa: S310 - handle() allows http and https only
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            body = answer.read(MOST_BYTES + 1)
            given = {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        raise OSError(f"{address.partition('?')[0]} answered {error.code}") from error
    if len(body) > MOST_BYTES:
        raise ValueError(f"an answer is larger than {MOST_BYTES:,} bytes")
    return json.loads(body), given

"""Times of the last changes of a site's settings, because earlier decisions followed other settings."""

import json
from collections.abc import Iterable
from datetime import datetime

from django.contrib.admin.models import CHANGE, LogEntry

from api.models import AuditEntry, Site


def last_change(site_id: int, fields: Iterable[str]) -> datetime | None:
    """Return when one of these fields was changed last, by the logs of the pages and the admin. Two queries."""
    names = set(fields)
    columns = [column for column in Site._meta.concrete_fields if column.name in names]  # noqa: SLF001 - Django's own way
    noted = AuditEntry.objects.filter(site=site_id, after__has_any_keys=[column.name for column in columns])
    # Entries of the admin's log have the labels of their time, which were the columns' names.
    labels = {
        label for column in columns for label in (str(column.verbose_name).lower(), column.name.replace("_", " "))
    }
    times = [_last_in_admin(site_id, labels)]
    times.append(noted.order_by("-pk").values_list("at", flat=True).first())
    return max((time for time in times if time is not None), default=None)


def _last_in_admin(site_id: int, labels: set[str]) -> datetime | None:
    changes = LogEntry.objects.filter(
        content_type__app_label="api", content_type__model="site", object_id=str(site_id), action_flag=CHANGE
    )
    for time, message in changes.order_by("-action_time").values_list("action_time", "change_message"):
        if labels & changed_labels(message):
            return time
    return None


def changed_labels(message: str) -> set[str]:
    """Return the labels of the form's fields in an entry of the admin's log, in lower case."""
    if not message.startswith("["):
        return set()
    parts = [part.get("changed", {}) for part in json.loads(message)]
    return {str(label).lower() for part in parts if "name" not in part for label in part.get("fields", ())}

"""Times of the last changes of settings, from the audit log and from the admin's log of earlier versions."""

import json
from datetime import UTC, datetime

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType

from api.checks.changes import last_change
from api.models import Site
from tests.world import World


@pytest.mark.parametrize("label", ["Goals per hour", "New goals per hour"])
def test_last_change__in_the_admins_log_under_any_label__is_found(world: World, label: str) -> None:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    LogEntry.objects.create(
        action_time=at,
        user=User.objects.create(username="ada"),
        content_type=ContentType.objects.get_for_model(Site),
        object_id=str(world.site.pk),
        action_flag=CHANGE,
        change_message=json.dumps([{"changed": {"fields": [label]}}]),
    )

    assert last_change(world.site.pk, ["goals_per_hour"]) == at
    assert last_change(world.site.pk, ["goals_per_10_seconds"]) is None

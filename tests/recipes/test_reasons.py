"""The recipe "A reason" of CONTRIBUTING.md."""

import pytest

from tests.support.throwaway_copy import Copy

REASONS, DECISION = "api/events/reasons.py", "api/digest/identified_event.py"

REASON = """
        Reason("forbidden_name", "rejected", "The event name is forbidden.", is_replayable=True),"""
DECIDE = """
        if name == "Forbidden":
            raise RejectedError("forbidden_name")"""
USE = """
from datetime import UTC, datetime
from django.db import transaction
from api.checks.base import Counts
from api.checks.inbox import check_inbox
from api.digest.derivation import StoredMessage
from api.digest.mapping import derive
from api.digest.replay import plan_replay, replay
from api.digest.site_config import load_site_config
from api.ingest.provisioning import create_site
from api.insight.trace import trace
from api.models import Message, MessageBody

now = datetime.now(UTC)
with transaction.atomic():
    site = create_site(name="Shop")
    body = b'{"type": "track", "userId": "u", "event": "Forbidden"}'
    message = Message(site=site, type="track", size=len(body), received_at=now, occurred_at=now)
    stored = StoredMessage.of_message(message, body)
    message.status, message.reason = "rejected", derive(stored, load_site_config(site).for_message(stored)).rejected
    message.digested_at = now
    message.save()
    MessageBody.objects.create(pk=message.pk, site=site, body=body)
    print(trace(site, message).steps[-1].text, [row.row for row in check_inbox(site.pk, Counts())])
    print(plan_replay(site, message.reason).messages, replay(site.pk, message.reason, who="test").messages)
    transaction.set_rollback(True)
"""


@pytest.mark.django_db
def test_recipe__of_a_reason__needs_two_files(copy: Copy) -> None:
    copy.insert(REASONS, REASON, after='"A track event needs an event name.", is_replayable=True),')
    copy.insert(DECISION, DECIDE, after='raise RejectedError("missing_name")')

    printed = copy.run(USE)

    assert printed.splitlines() == ["The event name is forbidden. []", "1 1"]
    assert copy.files == {REASONS, DECISION}

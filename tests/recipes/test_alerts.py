"""The recipes "An alert channel" and "An alert condition" of CONTRIBUTING.md."""

from textwrap import indent

import pytest

from tests.support.throwaway_copy import Copy

MODELS, CHANNELS, CONDITIONS = "api/models/alerts.py", "api/alerts/channels.py", "api/alerts/conditions.py"

PAGER = """

class PagerChannel(AlertChannel):
    column = "pager_number"
    nouns = ("pager", "pagers")

    def addresses(self, alert: Alert) -> list[str]:
        return [alert.pager_number] if alert.pager_number else []

    def send(self, delivery: AlertDelivery) -> str:
        return f"Paged {delivery.address}."
"""
SEND = """
form = {"name": "Lag", "condition": "lag", "threshold": "5", "pager_number": "0123", "is_enabled": "on"}
alert = AlertForm(form, instance=Alert(site=site)).save()
outbox.enqueue(alert, "fired", "It lags.", since=now, now=now)
outbox.send_due(now=now, seconds=5)
delivery = AlertDelivery.objects.get()
print(describe_addresses(alert), delivery.get_channel_display(), delivery.outcome, delivery.detail, sep=", ")
"""
DEPTH = """    Condition.DEPTH: ConditionType(
        lambda _, most, readings: ConditionResult(readings.inbox.pending >= most, "The queue is long."),
        unit="events",
        most=1000,
    ),
"""
CHECK = """
alert = Alert.objects.create(site=site, name="Queue", condition="depth", threshold=0)
evaluate.evaluate(now=now)
alert.refresh_from_db()
print(conditions.describe("depth", 10), alert.firing_since == now, alert.finding, sep=", ")
"""


def run_migrated(copy: Copy, actions: str) -> str:
    """Write the migration, apply it in a transaction that is rolled back, and return what the actions print."""
    return copy.run(f"""
from datetime import UTC, datetime
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from api.alerts import conditions, evaluate, outbox
from api.models import Alert, AlertDelivery, Site
from api.pages.settings.alerts import AlertForm, describe_addresses

call_command("makemigrations", "api", name="follow_recipe", verbosity=0)
loader, now = MigrationLoader(connection), datetime.now(UTC)
(leaf,) = loader.graph.leaf_nodes("api")
migration = loader.get_migration(*leaf)
with transaction.atomic():
    with connection.schema_editor(atomic=False) as editor:
        migration.apply(loader.project_state(migration.dependencies), editor)
    site = Site.objects.create(sitecode="recipe0000", name="Recipe")
{indent(actions, "    ")}
    transaction.set_rollback(True)
""")


@pytest.mark.django_db
def test_channel__added_by_its_recipe__delivers_and_has_a_field(copy: Copy) -> None:
    member, column = (
        '        PAGER = "pager", "pager"\n',
        "    pager_number = models.CharField(max_length=20, blank=True)\n",
    )
    copy.insert(MODELS, member, after='        WEBHOOK = "webhook", "webhook"\n')
    copy.insert(MODELS, column, after="(api.alerts.channels).\n")
    copy.insert(CHANNELS, PAGER, after='webhook.fingerprint(alert.webhook_url)})"\n')
    copy.insert(CHANNELS, "    Channel.PAGER: PagerChannel(),\n", after="    Channel.WEBHOOK: WebhookChannel(),\n")

    assert run_migrated(copy, SEND) == "1 pager, pager, sent, Paged 0123.\n"
    assert copy.files == {MODELS, CHANNELS}


@pytest.mark.django_db
def test_condition__added_by_its_recipe__fires(copy: Copy) -> None:
    copy.insert(MODELS, '        DEPTH = "depth", "queue over"\n', after='        LAG = "lag", "lag over"\n')
    copy.insert(CONDITIONS, DEPTH, after="CONDITIONS: Final[dict[str, ConditionType]] = {\n")

    assert run_migrated(copy, CHECK) == "queue over 10 events, True, The queue is long.\n"
    assert copy.files == {MODELS, CONDITIONS}

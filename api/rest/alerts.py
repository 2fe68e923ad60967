"""`/api/sites/{sitecode}/alerts`: conditions, addresses and tests of alerts."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.core import exceptions as django_exceptions
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.alerts import editing, outbox
from api.alerts.channels import CHANNELS
from api.alerts.conditions import CONDITIONS, explain
from api.events.refusal import Refusal
from api.models import Alert, Source, TokenScope
from api.rest import idempotency
from api.rest.access import caller_of, open_site
from api.rest.schema import answers


class AlertFields(serializers.Serializer[Any]):
    """The editable fields of an alert."""

    name = serializers.CharField(max_length=100)
    condition = serializers.ChoiceField(
        choices=Alert.Condition.values, help_text="; ".join(f"`{kind}`: {kind.label}" for kind in Alert.Condition)
    )
    threshold = serializers.FloatField(
        required=False,
        allow_null=True,
        help_text="Percent of the success rate, seconds of lag, minutes of silence. Null for `quota`.",
    )
    source = serializers.IntegerField(  # type: ignore[assignment]  # a field's own name, which is no field here
        source="source_id",
        required=False,
        allow_null=True,
        min_value=1,
        max_value=2**63 - 1,
        help_text="The id of a source, for `success` and `silence`. Null: all sources; silence then means any of them.",
    )
    emails = serializers.ListField(child=serializers.CharField(max_length=254), required=False)
    webhookUrl = serializers.CharField(
        source="webhook_url",
        required=False,
        allow_blank=True,
        max_length=500,
        help_text="A public address with https:// or http://. Requests are signed.",
    )
    isEnabled = serializers.BooleanField(source="is_enabled", required=False)


@extend_schema_serializer(component_name="Alert")
class AlertShape(AlertFields):
    """A condition that is checked every 30 seconds, and the addresses that it notifies."""

    id = serializers.IntegerField()
    firingSince = serializers.DateTimeField(source="firing_since", allow_null=True)
    checkedAt = serializers.DateTimeField(source="checked_at", allow_null=True)
    acknowledgedAt = serializers.DateTimeField(
        source="acknowledged_at",
        allow_null=True,
        help_text="When a person said that they know. Reminders are rarer then.",
    )
    snoozedUntil = serializers.DateTimeField(
        source="snoozed_until", allow_null=True, help_text="Until then it sends no reminder, unless it fires again."
    )
    finding = serializers.SerializerMethodField(help_text="The result of the last check that decided its state.")
    dateCreated = serializers.DateTimeField(source="created_at")

    def get_finding(self, alert: Alert) -> str:
        return explain(alert)


@extend_schema_serializer(component_name="NewAlert")
class NewAlert(AlertFields):
    """An alert to create."""


@extend_schema_serializer(component_name="AlertWithSecret")
class NewAlertShape(AlertShape):
    """A new alert with the secret that signs requests to its webhook."""

    secret = serializers.CharField()


@extend_schema_serializer(component_name="AlertChange")
class AlertChange(AlertFields):
    """Changes of an alert. Fields that are left out stay."""


class TestedShape(serializers.Serializer[Any]):
    notifications = serializers.IntegerField(help_text="The addresses that a worker notifies within half a minute.")


@extend_schema(tags=["alerts"])
class Alerts(ViewSet):
    """The alerts of a site. Each method parses and answers; api.alerts decides."""

    reads_need = writes_need = TokenScope.ADMIN

    @extend_schema(operation_id="listAlerts", responses=answers(200, AlertShape(many=True), 404))
    def list(self, request: Request, sitecode: str) -> Response:
        """List the alerts of a site by name."""
        return Response(AlertShape(open_site(request, sitecode=sitecode).alerts.all(), many=True).data)

    @extend_schema(
        operation_id="createAlert",
        request=NewAlert,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, NewAlertShape, 400, 403, 404, 409),
    )
    def create(self, request: Request, sitecode: str) -> Response:
        """Create an alert. The secret that signs its webhook's requests is shown here and on its page."""
        site = open_site(request, sitecode=sitecode)
        fields = read(NewAlert, request, Alert(site=site))

        def create(secret: str) -> Mapping[str, Any]:
            alert = Alert(site=site, secret=secret, **fields)
            editing.create_alert(alert, by=caller_of(request).name)
            return shape(alert)

        try:
            return idempotency.create_once(request, site, create, shown_once=lambda _body, secret: {"secret": secret})
        except editing.TooManyAlertsError as error:
            raise serializers.ValidationError(editing.TOO_MANY) from error

    @extend_schema(operation_id="readAlert", responses=answers(200, AlertShape, 404))
    def retrieve(self, request: Request, sitecode: str, alert_id: int) -> Response:
        """Return an alert with its state."""
        return Response(shape(find_alert(request, sitecode, alert_id)))

    @extend_schema(operation_id="changeAlert", request=AlertChange, responses=answers(200, AlertShape, 400, 403, 404))
    def partial_update(self, request: Request, sitecode: str, alert_id: int) -> Response:
        """Change an alert, or switch it on or off."""
        alert = find_alert(request, sitecode, alert_id)
        before, old = editing.read_values(alert), {name: getattr(alert, name) for name in editing.FIELDS}
        for name, value in read(AlertChange, request, alert, partial=True).items():
            setattr(alert, name, value)
        changed = [name for name in editing.FIELDS if getattr(alert, name) != old[name]]
        editing.change_alert(alert, changed, before=before, by=caller_of(request).name)
        return Response(shape(alert))

    @extend_schema(operation_id="deleteAlert", responses=answers(204, None, 403, 404))
    def destroy(self, request: Request, sitecode: str, alert_id: int) -> Response:
        """Delete an alert with the history of its notifications."""
        editing.delete_alert(find_alert(request, sitecode, alert_id), by=caller_of(request).name)
        return Response(status=HTTPStatus.NO_CONTENT)

    @extend_schema(operation_id="testAlert", request=None, responses=answers(200, TestedShape, 403, 404))
    def test(self, request: Request, sitecode: str, alert_id: int) -> Response:
        """Send a test to each address of an alert. A site sends a few tests an hour at most."""
        alert = find_alert(request, sitecode, alert_id)
        try:
            count = editing.send_test(alert, by=caller_of(request).name, now=timezone.now())
        except outbox.TooManyTestsError as error:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                "throttled",
                f"A site sends tests to {outbox.TESTS_AN_HOUR} addresses an hour at most. Nothing was sent.",
                (("Retry-After", "3600"),),
            ) from error
        return Response({"notifications": count})


def read(kind: type[AlertFields], request: Request, alert: Alert, *, partial: bool = False) -> dict[str, Any]:
    """Return the fields of a body, with those that depend on others. Raises ValidationError. One query at most."""
    given = kind(data=request.data, partial=partial)
    given.is_valid(raise_exception=True)
    fields: dict[str, Any] = given.validated_data
    names = {str(field.source): name for name, field in given.fields.items()}
    condition = fields.get("condition", alert.condition)
    if not CONDITIONS[condition].has_source:
        fields["source_id"] = None
    source_id = fields.get("source_id")
    if source_id is not None and not Source.objects.filter(site=alert.site, pk=source_id).exists():
        raise serializers.ValidationError({"source": "The site has no such source."})
    cleaners = {channel.column: channel.clean for channel in CHANNELS.values() if channel.column in fields}
    try:
        for column, clean in cleaners.items():
            fields[column] = clean(fields[column])
        column = "threshold"
        fields[column] = editing.clean_threshold(condition, fields.get(column, alert.threshold))
    except django_exceptions.ValidationError as error:
        raise serializers.ValidationError({names[column]: error.messages}) from error
    return fields


def find_alert(request: Request, sitecode: str, alert_id: int) -> Alert:
    """Return an alert of a site. Raises NotFound."""
    site = open_site(request, sitecode=sitecode)
    alert = site.alerts.filter(pk=alert_id).select_related("source").first()
    if alert is None:
        raise NotFound
    return alert


def shape(alert: Alert) -> Mapping[str, Any]:
    """Return an alert as JSON."""
    shaped: Mapping[str, Any] = AlertShape(alert).data
    return shaped

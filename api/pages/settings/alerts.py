"""The alerts of a site: their states, forms, tests, and the history of notifications."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import BadRequest
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from api.alerts import editing, outbox, webhook
from api.alerts.channels import CHANNELS
from api.alerts.conditions import CONDITIONS, explain
from api.alerts.editing import describe_condition, read_values
from api.alerts.history import find_history, limit_of
from api.http.wording import count_of
from api.models import Alert, AlertDelivery, Role, Site, make_signing_secret
from api.models.audit import write_audit
from api.pages.access import get_in_site, page_of, show, site_page
from api.pages.charts import Chart, Series
from api.pages.confirm import ask, is_confirmed
from api.pages.fields import lines_field
from api.pages.query_form import read_id
from api.pages.undo import CannotUndoError, read_switch, say_switched, say_with_kept

PAGE: Final = 50
KIND: Final = "alert"  # of what Undo gives back
KEPT: Final = ("id", "name", "condition", "threshold", "source_id", "emails", "webhook_url", "secret", "is_enabled")
FIRST: Final[dict[str, Any]] = {"condition": Alert.Condition.SUCCESS, "threshold": 95.0}  # of a new alert


def make_field(field: Any, **options: Any) -> Any:
    return lines_field(field) if isinstance(field, ArrayField) else field.formfield(**options)


class AlertForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    class Meta:
        model = Alert
        fields = editing.FIELDS
        formfield_callback = make_field
        labels = {"emails": "E-mail addresses, one per line", "webhook_url": "Webhook URL"}
        help_texts = {"threshold": "", "source": ""}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        source: Any = self.fields["source"]
        source.queryset = self.instance.site.sources.order_by("pk")
        source.label_from_instance = lambda row: row.name
        source.empty_label = "all sources"
        condition: Any = self.fields["condition"]
        condition.choices = [(code, kind.subject) for code, kind in CONDITIONS.items()]
        preview = {"hx-post": "", "hx-vals": '{"do": "preview"}', "hx-target": "#alert", "hx-select": "#alert"}
        condition.widget.attrs |= {**preview, "hx-swap": "outerHTML", "hx-trigger": "change", "hx-sync": "closest form"}

    def clean_name(self) -> str:
        return " ".join(str(self.cleaned_data["name"]).split())

    def clean(self) -> None:
        for channel in CHANNELS.values():
            if channel.column in self.cleaned_data:
                try:
                    self.cleaned_data[channel.column] = channel.clean(self.cleaned_data[channel.column])
                except forms.ValidationError as error:
                    self.add_error(channel.column, error)
        condition, threshold = self.cleaned_data.get("condition"), self.cleaned_data.get("threshold")
        kind = CONDITIONS.get(condition or "")
        if kind is None or not kind.has_source:
            self.cleaned_data["source"] = None
        if kind is None or "threshold" in self.errors:
            return
        try:
            self.cleaned_data["threshold"] = editing.clean_threshold(condition or "", threshold)
        except forms.ValidationError as error:
            self.add_error("threshold", error)


@site_page(Role.OWNER)
def list_alerts(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the alerts and, newest first, the notifications, in pages that begin below a number."""
    deliveries = AlertDelivery.objects.filter(site=site).select_related("alert").order_by("-pk")
    if (before := read_id(request.GET.get("before"))) is not None:
        deliveries = deliveries.filter(pk__lt=before)
    page = list(deliveries[: PAGE + 1])
    return show(
        request,
        "pages/settings/alerts.html",
        title="Alerts",
        tab="settings-alerts",
        alerts=[
            (alert, describe_condition(alert), explain(alert), describe_addresses(alert))
            for alert in site.alerts.select_related("source")
        ],
        has_mail=bool(settings.EMAIL_HOST),
        deliveries=page[:PAGE],
        next_before=page[PAGE - 1].pk if len(page) > PAGE else None,
    )


@site_page(Role.OWNER)
@require_POST
def change_alerts(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Test an alert, switch it on or off, rotate its secret, or delete it, as the button `do` says."""
    alert = get_in_site(Alert, site, request.POST.get("alert", ""))
    do = request.POST.get("do", "")
    if do in QUESTIONS and not is_confirmed(request):
        return QUESTIONS[do](request, alert)
    if do == "test":
        test(request, alert)
    elif do == "switch":
        switch(request, alert)
    elif do == "rotate":
        with transaction.atomic():
            alert.secret = make_signing_secret()
            alert.save(update_fields=["secret"])
            write_audit(request.user, site, f"Rotated the secret of the alert {alert.pk} “{alert}”")
        messages.success(request, "Secret rotated. It signs every request from now on.")
        return redirect("pages:settings-alert", site.sitecode, alert.pk)
    elif do == "delete":
        kept = {name: getattr(alert, name) for name in KEPT}
        editing.delete_alert(alert, by=request.user)
        say_with_kept(request, site, f"Alert “{alert}” and its notification history deleted.", KIND, kept)
    return redirect("pages:settings-alerts", site.sitecode)


def undo_removal(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Create a deleted alert again, without its history. Raises CannotUndoError."""
    if values["source_id"] is not None and not site.sources.filter(pk=values["source_id"]).exists():
        raise CannotUndoError("The alert's source no longer exists.")
    alert = Alert(site=site, **values)
    try:
        editing.create_alert(alert, by=request.user)
    except editing.TooManyAlertsError as error:
        raise CannotUndoError(editing.TOO_MANY) from error
    messages.success(request, f"Alert “{alert}” restored, without its notification history.")
    return redirect("pages:settings-alerts", site.sitecode)


def ask_delete(request: HttpRequest, alert: Alert) -> HttpResponseBase:
    """Return the page that says which notifications end."""
    deliveries = alert.deliveries.all()
    queued = deliveries.filter(outcome=AlertDelivery.Outcome.WAITING).count()
    return ask(
        request,
        title=f"Delete the alert “{alert}”",
        facts=[
            f"Condition: {describe_condition(alert)}.",
            f"Firing since {alert.firing_since:%Y-%m-%d %H:%M} UTC." if alert.firing_since else "It is not firing.",
            f"No longer notified: {describe_addresses(alert) or 'nobody'}.",
            f"Deleted with it: {count_of(deliveries.count(), 'notification')}, {queued:,} of them not sent yet.",
        ],
        warning="To pause an alert, switch it off instead.",
        action="Delete alert",
        back=reverse("pages:settings-alerts", args=[alert.site.sitecode]),
    )


def ask_rotate(request: HttpRequest, alert: Alert) -> HttpResponseBase:
    """Return the page that says which receivers reject requests after the rotation."""
    day_ago = timezone.now() - timedelta(hours=24)
    sent = alert.deliveries.filter(channel=AlertDelivery.Channel.WEBHOOK, at__gt=day_ago)
    return ask(
        request,
        title=f"Rotate the secret of “{alert}”",
        facts=[
            f"It signs the requests to {count_of(1 if alert.webhook_url else 0, 'webhook')}.",
            f"{count_of(sent.count(), 'request')} went to a webhook in the last 24 hours.",
        ],
        warning="The old secret ends at once. Receivers that check signatures reject requests until they have the new "
        "one.",
        action="Rotate secret",
        back=reverse("pages:settings-alert", args=[alert.site.sitecode, alert.pk]),
    )


QUESTIONS: Final = {"delete": ask_delete, "rotate": ask_rotate}


def test(request: HttpRequest, alert: Alert) -> None:
    """Queue a test, unless the site has sent enough of them: any address can be entered."""
    try:
        count = editing.send_test(alert, by=request.user, now=timezone.now())
    except outbox.TooManyTestsError:
        limit = f"A site sends tests to {outbox.TESTS_AN_HOUR} addresses an hour at most. Nothing was sent: try later."
        messages.error(request, limit)
        return
    if count:
        addresses = count_of(count, "address", "addresses")
        messages.success(request, f"Test queued for {addresses}. The result appears below within half a minute.")
    else:
        messages.error(request, "This alert has no address. Add one to test it.")


def switch(request: HttpRequest, alert: Alert) -> None:
    """Switch an alert on or off. Its state is forgotten, without a notification."""
    was_on, alert.is_enabled = alert.is_enabled, read_switch(request, now=alert.is_enabled)
    if alert.is_enabled != was_on:
        with transaction.atomic():
            editing.forget_state(alert)
            alert.save(update_fields=["is_enabled", *editing.STATE])
            what, after = f"Switched the alert {alert.pk} “{alert}”", {"is_enabled": alert.is_enabled}
            write_audit(request.user, alert.site, what, {"is_enabled": was_on}, after)
    say_switched(
        request,
        f"Alert “{alert}” is {'on' if alert.is_enabled else 'off'}.",
        page_of(alert.site, "settings-alerts-change"),
        [("do", "switch"), ("alert", str(alert.pk))],
        is_on=alert.is_enabled,
        was_on=was_on,
    )


@site_page(Role.EDITOR)
@require_POST
def quiet_alert(request: HttpRequest, site: Site, alert_id: int) -> HttpResponseBase:
    """Acknowledge a firing alert, or snooze it for the hours that `do` says; then come back to the page `next`."""
    alert = get_in_site(Alert, site, alert_id)
    do = request.POST.get("do", "acknowledge")
    if do not in {"acknowledge", *editing.SNOOZES}:
        raise BadRequest
    if not editing.acknowledge_or_snooze(alert, for_=editing.SNOOZES.get(do), by=request.user, now=timezone.now()):
        messages.info(request, f"Alert “{alert}” is not firing any more.")
    elif do in editing.SNOOZES:
        text = f"Alert “{alert}” snoozed for {count_of(int(do), 'hour')}. No reminders until then."
        messages.success(request, text)
    else:
        messages.success(request, f"Alert “{alert}” acknowledged. No reminders for three days.")
    back = request.POST.get("next", "")
    is_here = url_has_allowed_host_and_scheme(back, allowed_hosts=None) and back.startswith("/admin/")
    return redirect(back if is_here else page_of(site, "home"))


@site_page(Role.OWNER)
def edit_alert(request: HttpRequest, site: Site, alert_id: int | None = None) -> HttpResponseBase:
    """Show and save the form of an alert, with the last 14 days of its figure. The button `preview` saves nothing."""
    alert = get_in_site(Alert, site, str(alert_id)) if alert_id is not None else None
    before = read_values(alert) if alert else None
    is_preview = request.POST.get("do") == "preview"
    form = AlertForm(
        None if is_preview else request.POST or None,
        instance=alert or Alert(site=site),
        initial=read_draft(request) if is_preview else {} if alert else FIRST,
    )
    if request.method == "POST" and form.is_valid() and save_alert(request, form, before):
        return redirect("pages:settings-alerts", site.sitecode)
    condition = str(form["condition"].value())
    if condition not in CONDITIONS:
        condition = Alert.Condition.SUCCESS
    return show(
        request,
        "pages/settings/alert.html",
        title=f"Alert “{before['name']}”" if before else "New alert",
        tab="settings-alerts",
        form=form,
        kind=CONDITIONS[condition],
        history=draw_history(site, form, condition),
        alert=alert,
        has_mail=bool(settings.EMAIL_HOST),
        signature=webhook.SIGNATURE,
        status=400 if form.errors else 200,
    )


def read_draft(request: HttpRequest) -> dict[str, Any]:
    """Return the fields of a form as initial values of a new one, which shows no errors."""
    return {**request.POST.dict(), "is_enabled": "is_enabled" in request.POST}


def save_alert(request: HttpRequest, form: AlertForm, before: dict[str, Any] | None) -> bool:
    """Save a valid form. Return False if the site has too many alerts."""
    edited = form.save(commit=False)
    try:
        if before is None:
            editing.create_alert(edited, by=request.user)
        else:
            editing.change_alert(edited, form.changed_data, before=before, by=request.user)
    except editing.TooManyAlertsError:
        form.add_error(None, editing.TOO_MANY)
        return False
    messages.success(request, "Alert saved. It is checked every 30 seconds.")
    return True


@dataclass(frozen=True, slots=True)
class HistoryChart:
    """The last 14 days of a condition beside the button that saves it."""

    chart: Chart
    sentence: str
    since: datetime | None


def draw_history(site: Site, form: AlertForm, condition: str) -> HistoryChart:
    """Return the last 14 days of the condition of a form, with its threshold if that can be read. One query."""
    try:
        threshold = float(form["threshold"].value() or 0)
    except ValueError:
        threshold = 0.0
    source_id = read_id(str(form["source"].value() or "")) if CONDITIONS[condition].has_source else None
    is_read = 0 < threshold < float("inf")
    found = find_history(site, condition, threshold if is_read else None, source_id=source_id, now=timezone.now())
    times = [timezone.localtime(time) for time in found.times]
    chart = Chart(
        [f"{time.day} {time:%b %H:%M}" for time in times],
        [Series(f"{CONDITIONS[condition].subject}, {CONDITIONS[condition].unit or 'an hour'}", found.values)],
        unit="Hour",
        type="line",
        ticks=[f"{time.day} {time:%b}" for time in times],
        titles=[f"{time:%A}, {time.day} {time:%B}, {time:%H:%M}" for time in times],
        limit=limit_of(site, condition, threshold if is_read else None),
    )
    is_judged = is_read or CONDITIONS[condition].most is None
    often = {0: "not have fired", 1: "have fired at least once", 2: "have fired at least twice"}
    times_fired = often.get(found.fired, f"have fired at least {count_of(found.fired, 'time')}")
    time = f"since {timezone.localtime(found.since):%-d %b}" if found.since else "in the last 14 days"
    by = "every five minutes" if condition == Alert.Condition.LAG else "by the hour"
    sentence = f"Judged {by}, it would {times_fired} {time}."
    if found.fires_now:
        sentence = "It would fire now: the source sent no event in the last 14 days."
    return HistoryChart(chart, sentence if is_judged else "", found.since)


def describe_addresses(alert: Alert) -> str:
    counts = [(channel, len(channel.addresses(alert))) for channel in CHANNELS.values()]
    return ", ".join(count_of(count, *channel.nouns) for channel, count in counts if count)

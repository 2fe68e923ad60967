"""What a site's people want to be told of: the alerts, how each stands, what was told, and a test."""

from datetime import timedelta
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.alerts import outbox, webhook
from api.alerts.conditions import describe, explain
from api.audit import changed, note
from api.http.wording import count_of
from api.models import Alert, AlertDelivery, Site, make_signing_secret
from api.pages.access import Role, show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.fields import LinesField

PAGE: Final = 50
MOST_ALERTS: Final = 50  # of a site
MOST_EMAILS: Final = 10  # of an alert
Condition = Alert.Condition
FIELDS: Final = ("name", "condition", "threshold", "source", "emails", "webhook_url", "is_enabled")
MOST: Final = {Condition.SUCCESS: 100, Condition.LAG: 7 * 24 * 3600, Condition.SILENCE: 14 * 24 * 60}
WITH_SOURCE: Final = (Condition.SUCCESS, Condition.SILENCE)


class AlertForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    emails = LinesField(line_length=254, label="E-mail addresses", required=False)

    class Meta:
        model = Alert
        fields = FIELDS
        labels = {
            "condition": "Tell when",
            "threshold": "… this much",
            "source": "Of this source",
            "webhook_url": "Webhook",
            "is_enabled": "On",
        }
        help_texts = {
            "threshold": "Per cent of the success rate, seconds of lag, minutes of silence; nothing for the quota.",
            "source": "Of success rate and silence. Without one: all of them together; for silence, any of them.",
            "webhook_url": "https://… or http://…, a public address; what it gets is signed.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        source: Any = self.fields["source"]
        source.queryset = self.instance.site.sources.order_by("pk")
        source.label_from_instance = lambda each: each.name
        source.empty_label = "all"

    def clean_name(self) -> str:
        return " ".join(str(self.cleaned_data["name"]).split())

    def clean_emails(self) -> list[str]:
        address = forms.EmailField()
        addresses = list(dict.fromkeys(address.clean(line) for line in self.cleaned_data["emails"]))
        if len(addresses) > MOST_EMAILS:
            raise forms.ValidationError(f"At most {MOST_EMAILS} addresses.")
        return addresses

    def clean_webhook_url(self) -> str:
        url = str(self.cleaned_data["webhook_url"])
        if url:
            try:
                webhook.read_url(url)
            except webhook.WebhookError as error:
                raise forms.ValidationError(str(error)) from error
        return url

    def clean(self) -> None:
        condition, threshold = self.cleaned_data.get("condition"), self.cleaned_data.get("threshold")
        if condition == Condition.QUOTA:
            self.cleaned_data["threshold"] = None
        elif condition and "threshold" not in self.errors:
            most = MOST[Condition(condition)]
            if threshold is None or not 0 < threshold <= most:
                self.add_error("threshold", f"A number above 0, {most:,} at most.")
        if condition not in WITH_SOURCE:
            self.cleaned_data["source"] = None


@site_page(Role.OWNER)
def list_alerts(request: HttpRequest, site: Site) -> HttpResponseBase:
    """The alerts as they stand, and what was told, newest first, in pages that begin below a number."""
    told = AlertDelivery.objects.filter(site=site).select_related("alert").order_by("-pk")
    below = request.GET.get("before", "")
    if below.isdecimal() and len(below) < 19:  # noqa: PLR2004 - the largest number of a column has 19 digits
        told = told.filter(pk__lt=int(below))
    found = list(told[: PAGE + 1])
    return show(
        request,
        "pages/settings/alerts.html",
        title="Alerts",
        tab="settings-alerts",
        alerts=[(alert, in_words(alert), explain(alert)) for alert in site.alerts.select_related("source")],
        has_mail=bool(settings.EMAIL_HOST),
        told=found[:PAGE],
        next_before=found[PAGE - 1].pk if len(found) > PAGE else None,
    )


@site_page(Role.OWNER)
@require_POST
def change_alerts(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Test an alert, switch it on or off, give it a new secret, or delete it, as the button `do` says."""
    alert = find_alert(site, request.POST.get("alert", ""))
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
            note(request, site, f"Gave the alert {alert.pk} “{alert}” a new secret")
        messages.success(request, "What is sent from now on is signed with the new secret.")
        return redirect("pages:settings-alert", site.sitecode, alert.pk)
    elif do == "delete":
        with transaction.atomic():
            note(request, site, f"Deleted the alert {alert.pk} “{alert}”", state_of(alert), None)
            alert.delete()
        messages.success(request, f"Deleted: the alert “{alert}”, and the list of what it told.")
    return redirect("pages:settings-alerts", site.sitecode)


def ask_delete(request: HttpRequest, alert: Alert) -> HttpResponseBase:
    """Return the page that says who is no longer told."""
    deliveries = AlertDelivery.objects.filter(alert=alert)
    waiting = deliveries.filter(outcome=AlertDelivery.Outcome.WAITING).count()
    return ask(
        request,
        title=f"Delete the alert “{alert}”",
        facts=[
            f"It watches: {in_words(alert)}.",
            f"It fires since {alert.firing_since:%Y-%m-%d %H:%M} UTC." if alert.firing_since else "It does not fire.",
            (
                f"{count_of(len(alert.emails), 'e-mail address', 'e-mail addresses')} and "
                f"{count_of(1 if alert.webhook_url else 0, 'webhook')} are no longer told."
            ),
            (
                f"{count_of(deliveries.count(), 'entry', 'entries')} of what it told go with it, {waiting:,} of them "
                "not sent yet."
            ),
        ],
        warning="An alert that is switched off tells nobody either, and can come back.",
        action="Delete the alert",
        back=reverse("pages:settings-alerts", args=[alert.site.sitecode]),
    )


def ask_rotate(request: HttpRequest, alert: Alert) -> HttpResponseBase:
    """Return the page that says whose check of the signature fails with a new secret."""
    sent = AlertDelivery.objects.filter(
        alert=alert, way=AlertDelivery.Way.WEBHOOK, at__gt=timezone.now() - timedelta(hours=24)
    )
    return ask(
        request,
        title=f"Make a new secret for “{alert}”",
        facts=[
            f"{count_of(1 if alert.webhook_url else 0, 'webhook')} gets what is signed with it.",
            f"{count_of(sent.count(), 'message')} went to a webhook in the last 24 hours.",
        ],
        warning="The old secret ends at once: a receiver that checks signatures refuses what comes until it has the "
        "new one.",
        action="Make a new secret",
        back=reverse("pages:settings-alert", args=[alert.site.sitecode, alert.pk]),
    )


QUESTIONS: Final = {"delete": ask_delete, "rotate": ask_rotate}


def test(request: HttpRequest, alert: Alert) -> None:
    """Have a test sent, unless the site has sent enough of them: it may go to anybody's address."""
    try:
        with transaction.atomic():
            deliveries = outbox.send_test(alert, now=timezone.now())
            if deliveries:
                told = count_of(len(deliveries), "address", "addresses")
                note(request, alert.site, f"Tested the alert {alert.pk} “{alert}”", None, {"tells": told})
    except outbox.TooManyTestsError:
        most = (
            f"Tests of a site go to {outbox.TESTS_AN_HOUR} addresses an hour at most. Nothing was sent; try it later."
        )
        messages.error(request, most)
        return
    if not deliveries:
        messages.error(request, "This alert has neither an e-mail address nor a webhook: it tells nobody.")
        return
    message = f"On its way to {told}: a worker sends it within half a minute. The result then appears below."
    messages.success(request, message)


def switch(request: HttpRequest, alert: Alert) -> None:
    """On or off. One that is switched off forgets that it held, and tells nobody."""
    before = {"is_enabled": alert.is_enabled}
    with transaction.atomic():
        alert.is_enabled = not alert.is_enabled
        alert.firing_since = alert.held_at = alert.told_at = None
        alert.save(update_fields=["is_enabled", "firing_since", "held_at", "told_at"])
        note(request, alert.site, f"Switched the alert {alert.pk} “{alert}”", before, {"is_enabled": alert.is_enabled})


@site_page(Role.OWNER)
def edit_alert(request: HttpRequest, site: Site, alert_id: int | None = None) -> HttpResponseBase:
    alert = find_alert(site, str(alert_id)) if alert_id is not None else None
    before = state_of(alert) if alert else None
    form = AlertForm(request.POST or None, instance=alert or Alert(site=site))
    if request.method == "POST" and form.is_valid():
        if alert is None and site.alerts.count() >= MOST_ALERTS:
            form.add_error(None, f"A site has {MOST_ALERTS} alerts at most.")
        else:
            save(request, site, form, before)
            return redirect("pages:settings-alerts", site.sitecode)
    return show(
        request,
        "pages/settings/alert.html",
        title=f"Alert “{alert.name}”" if alert else "New alert",
        tab="settings-alerts",
        form=form,
        alert=alert,
        has_mail=bool(settings.EMAIL_HOST),
        signature=webhook.SIGNATURE,
        status=400 if form.errors else 200,
    )


def save(request: HttpRequest, site: Site, form: AlertForm, before: dict[str, Any] | None) -> None:
    with transaction.atomic():
        alert = form.save(commit=False)
        if before is None:
            alert.save()
            note(request, site, f"Made the alert {alert.pk} “{alert}”", None, state_of(alert))
        else:
            standing: tuple[str, ...] = ()  # which the worker writes meanwhile
            if not alert.is_enabled or {"condition", "source"} & set(form.changed_data):
                alert.firing_since = alert.held_at = alert.told_at = None
                standing = ("firing_since", "held_at", "told_at")
            alert.save(update_fields=[*FIELDS, *standing])
            was, is_now = changed(before, state_of(alert))
            if was:
                note(request, site, f"Changed the alert {alert.pk} “{alert}”", was, is_now)
    messages.success(request, "Saved. It is looked at every half minute.")


def in_words(alert: Alert) -> str:
    words = describe(alert.condition, alert.threshold)
    return f"{words}: {alert.source.name}" if alert.source else words


def state_of(alert: Alert) -> dict[str, Any]:
    """What the log keeps of an alert. An address of a webhook may hold a secret: its host and what tells two apart."""
    host = webhook.read_url(alert.webhook_url).hostname if alert.webhook_url else None
    return {
        "name": alert.name,
        "condition": in_words(alert),
        "emails": list(alert.emails),
        "webhook": f"{host} ({webhook.fingerprint(alert.webhook_url)})" if host else "",
        "is_enabled": alert.is_enabled,
    }


def find_alert(site: Site, number: str) -> Alert:
    """Raises Http404 for one of another site."""
    alert = site.alerts.filter(pk=number).first() if number.isdecimal() and len(number) < 19 else None  # noqa: PLR2004
    if alert is None:
        raise Http404
    return alert

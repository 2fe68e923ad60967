"""The ways to notify people of an alert: e-mail and webhook, each a channel with its addresses and its sending."""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from api.alerts import webhook
from api.alerts.conditions import describe
from api.http.mail import MailError, has_mail, send_email
from api.http.public_address import link_to
from api.http.wording import replace_times, time_with_zone
from api.models import Alert, AlertDelivery, Site

MOST_EMAILS: Final = 10  # addresses of an alert
Channel, Event = AlertDelivery.Channel, AlertDelivery.Event


class DeliveryError(Exception):
    """Reason why a notification was not sent, in words for the history of notifications."""


class AlertChannel(ABC):
    """One way to notify people. `column` of Alert holds the addresses, and the alert's form has a field for it."""

    column: str
    nouns: tuple[str, str]  # one address, several addresses

    @abstractmethod
    def addresses(self, alert: Alert) -> list[str]:
        """Return what each delivery stores of an address of the alert. One text is one notification."""

    @abstractmethod
    def send(self, delivery: AlertDelivery) -> str:
        """Send a notification and return the answer in words. Raises DeliveryError."""

    def obstacle(self, delivery: AlertDelivery) -> str:
        """Return why the delivery must not be tried, empty if it may."""
        if delivery.address in self.addresses(delivery.alert):
            return ""
        return f"The {self.nouns[0]} was removed from the alert before the notification was sent."

    def clean(self, value: Any) -> Any:
        """Return the value of the form's field as it is stored. Raises ValidationError."""
        return value

    def audit_value(self, alert: Alert) -> Any:
        """Return what the audit log shows of the addresses."""
        return getattr(alert, self.column)


class EmailChannel(AlertChannel):
    column = "emails"
    nouns = ("e-mail address", "e-mail addresses")

    def addresses(self, alert: Alert) -> list[str]:
        return alert.emails

    def obstacle(self, delivery: AlertDelivery) -> str:
        no_server = "" if has_mail() else "No mail server is set: GOALPOST_EMAIL_URL."
        return super().obstacle(delivery) or no_server

    def send(self, delivery: AlertDelivery) -> str:
        """Send an e-mail. Raises DeliveryError."""
        try:
            send_email(*write_email(delivery), delivery.address)
        except MailError as error:
            raise DeliveryError(str(error)) from error
        return "The mail server took it."

    def clean(self, value: list[str]) -> list[str]:
        addresses = list(dict.fromkeys(address.strip() for address in value))
        for address in addresses:
            validate_email(address)
        if len(addresses) > MOST_EMAILS:
            raise ValidationError(f"At most {MOST_EMAILS} addresses.")
        return addresses


class WebhookChannel(AlertChannel):
    column = "webhook_url"
    nouns = ("webhook", "webhooks")

    def addresses(self, alert: Alert) -> list[str]:
        return [""] if alert.webhook_url else []  # the URL may hold a secret: deliveries do not repeat it

    def send(self, delivery: AlertDelivery) -> str:
        alert = delivery.alert
        try:
            return webhook.post(alert.webhook_url, webhook_content(delivery), secret=alert.secret)
        except (webhook.WebhookError, OSError, ValueError) as error:  # one webhook must not end the run of all
            raise DeliveryError(str(error)) from error

    def clean(self, value: str) -> str:
        try:
            if value:
                webhook.read_url(value)
        except webhook.WebhookError as error:
            raise ValidationError(str(error)) from error
        return value

    def audit_value(self, alert: Alert) -> str:
        """Return the host and a fingerprint, because the URL may hold a secret."""
        if not alert.webhook_url:
            return ""
        return f"{webhook.read_url(alert.webhook_url).hostname} ({webhook.fingerprint(alert.webhook_url)})"


CHANNELS: Final[dict[str, AlertChannel]] = {
    Channel.EMAIL: EmailChannel(),
    Channel.WEBHOOK: WebhookChannel(),
}


def list_addresses(alert: Alert) -> list[tuple[str, str]]:
    """Return channel and address of each notification that an alert sends."""
    return [(code, address) for code, channel in CHANNELS.items() for address in channel.addresses(alert)]


def webhook_content(delivery: AlertDelivery) -> dict[str, Any]:
    """Return the JSON of a webhook request. It holds neither bodies of events nor personal data."""
    alert, site = delivery.alert, delivery.site
    since = delivery.firing_since
    return {
        "id": delivery.pk,
        "event": str(delivery.event),
        "at": delivery.at.isoformat(),
        "firingSince": since.isoformat() if since else None,
        "site": {"sitecode": site.sitecode, "name": site.name},
        "alert": {"id": alert.pk, "name": alert.name, "condition": describe(alert.condition, alert.threshold)},
        "message": delivery.finding,
        "path": delivery_page(site),
        "url": link_to(delivery_page(site)) if settings.PUBLIC_URL else None,
    }


def write_email(delivery: AlertDelivery) -> tuple[str, str]:
    """Return subject and body. Their times are in the site's zone."""
    alert, site = delivery.alert, delivery.site
    words = Event(delivery.event).label
    link = link_to(delivery_page(site))
    where = link if settings.PUBLIC_URL else f"Open {link} of your Goalpost. GOALPOST_PUBLIC_URL makes this a link."
    since = delivery.firing_since
    in_zone = partial(time_with_zone, zone=site.zone)
    lines = [
        f"{alert.name} ({describe(alert.condition, alert.threshold)}): {words}.",
        "",
        replace_times(delivery.finding, in_zone),
        *([f"Firing since {in_zone(since)}."] if since and delivery.event == Event.REMINDER else []),
        *([f"It fired at {in_zone(since)}."] if since and delivery.event == Event.RESOLVED else []),
        "",
        f"Site: {site.name} ({site.sitecode})",
        where,
        in_zone(delivery.at),
    ]
    return " ".join(f"[Goalpost] {site.name}: {alert.name} – {words}".split()), "\n".join(lines)


def delivery_page(site: Site) -> str:
    """Return the path of the page that shows the figures of an alert."""
    return f"/admin/s/{site.sitecode}/delivery/"

"""The settings of a site, and its audit log."""

import html

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from api.ingest.provisioning import create_site
from api.models import AuditEntry, Site
from tests.support.pages import text_of
from tests.support.settings_pages import BASE, change, last_entry, look, sent_form


def test_site__changed__is_noted_before_and_after(owner: Client, site: Site) -> None:
    sent = sent_form(owner)

    change(owner, "save/", **{**sent, "goal_name_template": "{type}: {name}", "public_traits": "plan\r\ncountry"})

    site.refresh_from_db()
    assert (site.goal_name_template, site.public_traits) == ("{type}: {name}", ["plan", "country"])
    assert site.rules_changed_at is not None
    assert last_entry() == (
        "Changed the site's settings",
        {"public_traits": ["plan"], "goal_name_template": "SegmentIO {type} – {name}"},
        {"public_traits": ["plan", "country"], "goal_name_template": "{type}: {name}"},
    )
    assert "track: Clicked on Checkout" in look(owner, "")


def test_site__saved_as_it_is__notes_nothing(owner: Client, site: Site) -> None:
    change(owner, "save/", **sent_form(owner))

    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("goal_name_template", "no places"),
        ("default_currency", "euro"),
        ("goals_per_hour", "0"),
        ("keeps_done_days", "6"),
    ],
)
def test_site__odd_value__is_refused(owner: Client, site: Site, field: str, value: str) -> None:
    response = owner.post(BASE + "save/", {**sent_form(owner), field: value})

    assert response.status_code == 400
    site.refresh_from_db()
    assert str(getattr(site, field)) != value


@pytest.mark.promise("K-39")
def test_site__its_sitecode__has_a_button_that_copies(owner: Client) -> None:
    shown = look(owner, "")

    assert 'data-copy="1q2w3e4r5t"' in shown
    assert "api/copy.js" in shown


# The audit log


def test_changes__more_than_a_page__go_on_below(owner: Client, site: Site) -> None:
    user = User.objects.get(username="owner")
    for number in range(60):
        AuditEntry.objects.create(site=site, user=user, who="owner", at=timezone.now(), what=f"Change <{number}>.")
    other = create_site(name="Other")
    AuditEntry.objects.create(site=other, user=user, who="owner", at=timezone.now(), what="Elsewhere")

    first = owner.get(BASE + "changes/")
    shown = html.unescape(text_of(first))
    second = look(owner, f"changes/?{first.context['older']}")

    assert ("Change <59>." in shown, "Change <10>." in shown, "Change <9>." in shown) == (True, True, False)
    assert ("Change <9>." in second, "Change <0>." in second, "Older" in second) == (True, True, False)
    assert "Elsewhere" not in shown + second
    assert "<script" not in shown.partition("Change <59>")[2].partition("</table>")[0]


@pytest.mark.parametrize("before", ["x", "9" * 30, "-1", "%00"])
def test_changes__odd_page__is_the_first(owner: Client, before: str) -> None:
    assert "No changes yet" in look(owner, f"changes/?before={before}")

"""Rights and queries of the settings pages."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from api.ingest.provisioning import create_credential, create_source
from api.models import AuditEntry, Membership, Rule, Site, Source, WriteKey
from tests.support.pages import Enter
from tests.support.settings_pages import BASE, look

TABS = ["", "sources/", "rules/", "rules/new/", "credentials/", "members/", "changes/"]
FOR_OWNERS = ["rules/new/", "credentials/", "members/", "changes/"]
CHANGES = ["save/", "sources/change/", "rules/change/", "rules/new/", "credentials/change/", "members/change/"]


@pytest.mark.promise("I-29")
@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("who", ["viewer", "editor", "owner", "outsider", "anonymous"])
def test_tab__whoever_asks__gets_what_is_theirs(enter: Enter, who: str, tab: str) -> None:
    status = {"owner": 200, "outsider": 404, "anonymous": 302}.get(who, 403 if tab in FOR_OWNERS else 200)

    assert enter(who).get(BASE + tab).status_code == status


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("editor", 403), ("outsider", 404), ("anonymous", 302)])
def test_change__by_whoever_is_no_owner__changes_nothing(
    enter: Enter, source: Source, who: str, status: int, path: str
) -> None:
    before = list(Site.objects.values()), list(Source.objects.values()), list(WriteKey.objects.values())
    fields = {"do": "create", "name": "New", "kind": "server", "action": "drop"}

    assert enter(who).post(BASE + path, fields).status_code == status

    assert before == (list(Site.objects.values()), list(Source.objects.values()), list(WriteKey.objects.values()))
    assert not Rule.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("tab", TABS)
def test_tab__of_much__takes_twelve_queries(
    owner: Client, site: Site, django_assert_max_num_queries: Any, tab: str
) -> None:
    for number in range(10):
        source = create_source(site, name=f"Source {number}", kind="server")
        Rule.objects.create(site=site, source=source, action="drop")
        create_credential([site], name=f"Credential {number}")
        Membership.objects.create(site=site, user=User.objects.create_user(f"user {number}"))
    look(owner, tab)

    with django_assert_max_num_queries(12):
        look(owner, tab)


@pytest.mark.parametrize("number", ["", "x", "9" * 30, "-1", "0"])
@pytest.mark.parametrize(
    ("path", "field"), [("sources/change/", "source"), ("rules/change/", "rule"), ("credentials/change/", "credential")]
)
def test_change__of_something_that_is_not_the_sites__is_not_found(
    owner: Client, path: str, field: str, number: str
) -> None:
    assert owner.post(BASE + path, {"do": "revoke", field: number}).status_code == 404

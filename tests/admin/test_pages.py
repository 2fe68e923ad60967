"""Every admin page of ours: it opens, finds by odd strings, and lets nobody edit what a law keeps."""

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group as UserGroup
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import admin_pages
from api.models import (
    Alert,
    AlertDelivery,
    AuditEntry,
    Backfill,
    Claim,
    DatabaseClock,
    Erasure,
    GoalsChange,
    Heartbeat,
    KeyFingerprint,
    LateLink,
    Load,
    ManagementToken,
    Message,
    RefusalTally,
    RefusedKey,
    Removal,
    Rule,
    Site,
    SourceTally,
    SourceUse,
    Suppression,
    Twin,
    WriteKey,
)
from cohorts.models import Group, Identity, Link, Persona, PersonaFact, SearchText, Username
from goals.models import Conversion, Goal, GoalCreation, GoalDay, GoalTotal, GoalVisitor, Tag, WaitingName
from tests.admin.conftest import text_of
from tests.world import START

# Both are read on the page of their source: the keys, and the sums of what came through it.
# Goals show their figures themselves, and how far a change of many is; people who were erased have receipts, and alerts
# are a site's settings. The links of a person are in their export; how far a command or a removal has come, `doctor`
# and the pages of what goes tell; late links, `verify`.
ON_ANOTHER_PAGE = {
    Alert,
    AlertDelivery,
    Backfill,
    LateLink,
    Link,
    ManagementToken,
    RefusalTally,
    RefusedKey,
    PersonaFact,
    Removal,
    SearchText,
    WriteKey,
    SourceTally,
    SourceUse,
    GoalVisitor,
    GoalDay,
    GoalTotal,
    Erasure,
    Suppression,
    GoalsChange,
    DatabaseClock,
    Heartbeat,
    KeyFingerprint,
}
OURS = [model for app in ("api", "goals", "cohorts") for model in apps.get_app_config(app).get_models()]
MODELS = [model for model in OURS if model not in ON_ANOTHER_PAGE]
READ_ONLY = [
    AuditEntry,
    Message,
    Claim,
    Twin,
    Load,
    Conversion,
    GoalCreation,
    WaitingName,
    Identity,
    Persona,
    Group,
    Username,
]
LARGE = [model for model in MODELS if isinstance(admin.site.get_model_admin(model), admin_pages.LargeTable)]

ODD = [
    "%00",
    "a%00b",
    "%ED%A0%80",
    "%F0%9F%9B%92",
    "%25_%5C",
    "'\"",
    '"unbalanced',
    "9" * 18,
    "9" * 19,
    "9" * 5000,
    "-1",
    "1e9",
    "%D9%A1",
    "x" * 5000,
    "%20",
]


def page(model: type[Model], name: str, *arguments: object) -> str:
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{name}", args=arguments)


def name_of(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)[:20]


def test_site__every_model_of_ours__has_a_page() -> None:
    assert {model for model in OURS if not admin.site.is_registered(model)} == ON_ANOTHER_PAGE


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_list__and_page_of_a_row__open(person: Client, model: type[Model]) -> None:
    row = model._default_manager.get()

    assert str(row.pk) in text_of(person.get(page(model, "changelist")))
    text_of(person.get(page(model, "change", row.pk)))
    text_of(person.get(page(model, "history", row.pk)))


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_list__anonymous__is_asked_to_log_in(site: Site, model: type[Model]) -> None:
    response = Client().get(page(model, "changelist"))

    assert (response.status_code, response["Location"].partition("?")[0]) == (302, "/admin/login/")


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_pages__person_without_permission__sees_none(site: Site, model: type[Model]) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_user("staff", is_staff=True))
    pk = model._default_manager.get().pk

    for path in (page(model, "changelist"), page(model, "add"), page(model, "change", pk), page(model, "delete", pk)):
        assert client.get(path).status_code == 403
        assert client.post(path, {"_try": "1"}).status_code == 403


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_pages__person_who_may_only_look__changes_nothing(site: Site, model: type[Model]) -> None:
    client = Client(raise_request_exception=False)
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(looker)
    change = page(model, "change", model._default_manager.get().pk)

    assert 'name="action"' not in text_of(client.get(page(model, "changelist")))
    shown = text_of(client.get(change))
    assert not any(f'name="{button}"' in shown for button in ("_save", "_rotate", "_revoke", "_try", "_renew"))
    for button in ("_save", "_rotate", "_try"):
        assert client.post(change, {button: "1"}).status_code == 403


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_list__odd_searches_filters_and_pages__never_fail(person: Client, model: type[Model]) -> None:
    filters = [
        f"{each}__exact" if isinstance(each, str) else str(getattr(each, "parameter_name", ""))
        for each in admin.site.get_model_admin(model).list_filter
    ]
    columns = {field.name for field in model._meta.get_fields() if field.concrete} - set(filters)
    for odd in ODD:
        for parameter in ("q", "p", *filters):
            answer = person.get(f"{page(model, 'changelist')}?{parameter}={odd}")
            assert answer.status_code in {200, 302}, (parameter, odd)
        assert person.get(page(model, "change", "1").replace("1", odd)).status_code in {302, 404}, odd
    for column in columns:  # which nobody offers to filter by
        assert person.get(f"{page(model, 'changelist')}?{column}=x").status_code == 400, column


@pytest.mark.parametrize("model", READ_ONLY, ids=name_of)
def test_row__that_nobody_may_edit__cannot_be_added_changed_or_deleted(person: Client, model: type[Model]) -> None:
    pk = model._default_manager.get().pk

    assert person.post(page(model, "add"), {}).status_code == 403
    assert person.post(page(model, "change", pk), {}).status_code == 403
    assert person.post(page(model, "delete", pk), {"post": "yes"}).status_code == 403
    many = {"action": "delete_selected", "_selected_action": [pk], "post": "yes"}
    person.post(page(model, "changelist"), many)
    assert model._default_manager.count() == 1


@pytest.mark.parametrize("model", [*MODELS, User, UserGroup], ids=name_of)
def test_table__whatever_it_holds__changes_no_more_than_a_row_at_once(
    person: Client, site: Site, model: type[Model]
) -> None:
    Group.objects.create(site=site, group_id="another")
    UserGroup.objects.create(name="Readers")
    known = model._default_manager.count()
    pks = list(model._default_manager.values_list("pk", flat=True))

    assert 'name="action"' not in text_of(person.get(page(model, "changelist")))
    for action in ("delete_selected", "archive", "revoke"):
        person.post(page(model, "changelist"), {"action": action, "_selected_action": pks, "post": "yes"})

    assert model._default_manager.count() == known


@pytest.mark.parametrize("model", LARGE, ids=name_of)
def test_list__of_a_large_table__counts_a_bounded_number_of_rows(person: Client, model: type[Model]) -> None:
    with CaptureQueriesContext(connection) as queries:
        text_of(person.get(page(model, "changelist")))

    table = f'FROM "{model._meta.db_table}"'
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"] and table in query["sql"]]
    assert len(counts) == 1
    assert f"LIMIT {admin_pages.LIST_LIMIT}" in counts[0]


def test_list__of_more_rows_than_it_shows__says_so(person: Client, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_pages.BoundedPaginator, "limit", 60)
    Persona.objects.bulk_create(Persona(site=site, name=f"persona {number}") for number in range(99))

    first = text_of(person.get(page(Persona, "changelist")))
    last = text_of(person.get(f"{page(Persona, 'changelist')}?p=2"))

    assert "ends after 60 rows" in first
    assert "persona 49<" in first
    assert "persona 48<" not in first
    assert "persona 48<" in last
    assert "persona 39<" in last
    assert "persona 38<" not in last


@pytest.mark.parametrize(
    ("model", "term"),
    [
        (Site, "1q2w3e4r5t"),
        (Rule, "noise"),
        (Message, "m1"),
        (Goal, "BUY"),
        (Conversion, "visitor-1"),
        (Tag, "segment.io"),
        (Identity, "user-1"),
        (Persona, "spend"),
        (Group, "group-1"),
        (Username, "ada"),
    ],
    ids=name_of,
)
def test_list__search__finds_the_row_and_no_other(person: Client, model: type[Model], term: str) -> None:
    pk = model._default_manager.get().pk

    for query, is_found in ((term, True), (f"{term}-not", False)):
        found = text_of(person.get(f"{page(model, 'changelist')}?q={query}"))
        assert (page(model, "change", pk) in found) is is_found


def test_message__by_its_number_or_rejected__is_found(person: Client) -> None:
    message = Message.objects.get()
    assert page(Message, "change", message.pk) in text_of(person.get(f"{page(Message, 'changelist')}?q={message.pk}"))

    Message.objects.update(status=Message.Status.REJECTED, reason="missing_name")
    for query in ("q=m1", "reason=missing_name", "status__exact=rejected"):
        assert page(Message, "change", message.pk) in text_of(person.get(f"{page(Message, 'changelist')}?{query}"))


def test_message__page__says_why_and_shows_the_body_escaped(person: Client) -> None:
    shown = text_of(person.get(page(Message, "change", Message.objects.get().pk)))

    assert "This message was in hand each time its worker died." in shown
    assert "The sender&#x27;s clock was off by more than 60 seconds" in shown
    assert "&quot;event&quot;: &quot;&lt;script&gt;alert(1)&lt;/script&gt;&quot;" in shown
    assert "<script>alert" not in shown
    assert "Traceback &lt;i&gt;" in shown


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", "0 bytes"),
        (b"not json", "not json"),
        (b'{"a": "\\ud800\\u0000"}', "\\ud800"),
        (b"\xff\x00", "\\xff\\0"),
        (b"[" * 100_000, "[[["),
        (b"[" * 400 + b"]" * 400, "["),
        (b"9" * 5000, "999"),
        (b'{"a": NaN}', "NaN"),
    ],
    ids=name_of,
)
def test_message__whatever_its_body__can_be_looked_at(person: Client, body: bytes, shown: str) -> None:
    message = Message.objects.get()
    Message.objects.update(body=body)

    assert shown in text_of(person.get(page(Message, "change", message.pk)))


@pytest.mark.parametrize("model", [Conversion, Identity, Group], ids=name_of)
def test_page__what_strangers_sent__is_escaped(person: Client, model: type[Model]) -> None:
    shown = text_of(person.get(page(model, "change", model._default_manager.get().pk)))

    assert "&lt;b&gt;pro&lt;/b&gt;" in shown
    assert "<b>pro" not in shown


def test_conversions__of_one_goal__are_newest_first(person: Client, site: Site) -> None:
    goal = Goal.objects.get()
    for number, year in ((2, 2030), (3, 2020)):
        Conversion.objects.create(
            site=site,
            goal=goal,
            visitor_code=f"visitor-{number}",
            keyed_by=Conversion.KeyedBy.EVENT,
            occurred_at=START.replace(year=year),
            message_key=f"m{number}",
        )

    shown = text_of(person.get(f"{page(Conversion, 'changelist')}?goal__id__exact={goal.pk}"))

    order = [shown.index(f"visitor-{number}") for number in (2, 1, 3)]
    assert order == sorted(order)


def test_unknown__page_of_the_admin__is_a_page(person: Client) -> None:
    response = person.get("/admin/none/")

    assert response.status_code == 404
    assert "To your site" in response.content.decode()
    assert response["Content-Type"].startswith("text/html")

"""The database tables: superusers read them, and edit users, memberships and new sites; the rest is read-only."""

import json
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from api.ingest.provisioning import create_credential, create_site
from api.models import (
    AuditEntry,
    Claim,
    Credential,
    DuplicateSources,
    Load,
    Membership,
    Message,
    Role,
    Rule,
    Site,
)
from api.pages.tables import LIST_LIMIT, TABLES, BoundedPaginator, Table
from cohorts.models import CustomData, Group, Identity, OwnKey, Persona, Username
from goals import catalogue
from goals.flags.models import FeatureFlag
from goals.matching import EventName
from goals.models import Conversion, Goal, GoalCreation, Tag, WaitingName
from tests.support.messages import store_message
from tests.support.pages import form_of, text_of
from tests.world import START

TEMPLATE = "SegmentIO {type} – {name}"

# Pages of a site show keys and counts of sources, figures, cancellations and tags of goals, receipts of erasures,
# alerts, running changes, saved views and profiles. A person's export holds links and histories; a repeated request
# shows its stored answer; `doctor` and `verify` report on the rest.
WITHOUT_TABLE = {
    f"{app}.{name}"
    for app, names in {
        "api": (
            "Alert AlertDelivery Annotation Backfill DatabaseClock Erasure GoalView GoalsChange Heartbeat "
            "KeyFingerprint LateLink ManagementToken MessageBody MessageKey Profile RefusalCount RefusedKey Removal "
            "SdkConfiguration SourceCount SourceUse StoredAnswer Suppression WriteKey"
        ),
        "cohorts": "Link PersonaFact SearchText Segment SegmentChange SegmentMember SegmentRecheck",
        "goals": (
            "Cancellation Environment Experiment ExperimentGoal ExperimentPhase Exposure FlagVersion GoalDay GoalTag "
            "GoalTotal GoalVisitor ImportedSegment Variation VisitActivity VisitFact"
        ),
    }.items()
    for name in names.split()
}
ALL = [model for app in ("api", "goals", "cohorts") for model in apps.get_app_config(app).get_models()]
MODELS = [model for model in ALL if model._meta.label not in WITHOUT_TABLE]
READ_ONLY = [model for model in MODELS if isinstance(TABLES.get_model_admin(model), Table)]
EDITED = [Membership, Site, User]

ARABIC_ONE = "%D9%A1"
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
    ARABIC_ONE,
    "x" * 5000,
    "%20",
]


def page(model: type[Model], name: str, *arguments: object) -> str:
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{name}", args=arguments)


def name_of(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)[:20]


@pytest.fixture
def site(db: None) -> Site:
    """Its tables hold what events would leave there."""
    site = create_site(name="Shop", sitecode="1q2w3e4r5t")
    create_credential([site], name="Segment")
    source = site.sources.get()
    Rule.objects.create(
        site=site, source=source, name="No noise", action=Rule.Action.DROP, name_value="_", name_test="prefix"
    )
    # With itself, which no event makes: one row of each table.
    DuplicateSources.objects.create(site=site, one=source, other=source, event_name="Buy", count=1, last_seen_at=START)
    Load.objects.create(site=source.site, source=source, fingerprint="f", file_name="past.jsonl")
    goal = Goal(site=site, name="SegmentIO track – Buy", origin=Goal.Origin.EVENT, is_named_by_event=True)
    catalogue.create_goal(goal, tags=["segment.io"], template=TEMPLATE)
    catalogue.bind_event(goal, EventName("track", "Bought"), template=TEMPLATE)
    Conversion.objects.create(
        site=site,
        goal=goal,
        visitor_code="visitor-1",
        keyed_by=Conversion.KeyedBy.EVENT,
        occurred_at=START,
        message_key="m1",
        properties={"plan": "<b>pro</b>"},
    )
    GoalCreation.objects.create(site=site, created_at=START)
    WaitingName.objects.create(site=site, name="SegmentIO track – Wait", event_type="track", event_name="Wait")
    store_message(
        site=site,
        source=source,
        type="track",
        message_id="m1",
        received_at=START,
        occurred_at=START,
        body=b'{"type": "track"}',
        status=Message.Status.FAILED,
        reason="worker_died",
        warnings=["clock_corrected"],
        effects=["converted"],
        detail="Traceback <i>",
    )
    Claim.objects.create(site=site, worker=7, message_ids=[1], claimed_at=START, server_started_at=START)
    traits = {"plan": [1, 0, "m1", "<b>pro</b>"]}
    Identity.objects.create(site=site, kind=Identity.Kind.USER, value="user-1", registers={"traits": traits})
    Persona.objects.create(site=site, name="big spenders")
    CustomData.objects.create(site=site, index=1, name="personas")
    FeatureFlag.objects.create(site=site, key="persona_flag", document={})
    Group.objects.create(site=site, group_id="group-1", registers=traits)
    Username.objects.create(site=site, name="ada", user_value="user-1")
    OwnKey.objects.create(site=site, key="prices", document="{}", updated_at=START, expires_at=START)
    member = User.objects.create_user("member")
    Membership.objects.create(site=site, user=member, role=Role.EDITOR)
    AuditEntry.objects.create(
        site=site, user=member, who="member", at=START, what="Renamed the site", after={"name": "<b>"}
    )
    return site


@pytest.fixture
def superuser(site: Site) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("admin"))
    return client


def row_of(model: type[Model]) -> Model:
    return model._default_manager.order_by("pk")[0]


def test_models__of_the_product__have_a_table_or_another_page() -> None:
    assert {model._meta.label for model in ALL if not TABLES.is_registered(model)} == WITHOUT_TABLE
    assert set(MODELS) - set(READ_ONLY) == {Membership, Site}


@pytest.mark.parametrize("model", [*MODELS, User], ids=name_of)
def test_list__and_row__open_without_secrets(superuser: Client, model: type[Model]) -> None:
    row = row_of(model)

    shown = [text_of(superuser.get(page(model, "changelist")))]
    shown += [text_of(superuser.get(page(model, name, row.pk))) for name in ("change", "history")]

    assert str(row.pk) in shown[0]
    assert not any(Credential.objects.get().secret_hash in text for text in shown)


@pytest.mark.parametrize("who", ["anonymous", "owner", "staff"])
@pytest.mark.parametrize("model", [*MODELS, User], ids=name_of)
def test_tables__of_anybody_but_a_superuser__ask_to_sign_in(site: Site, model: type[Model], who: str) -> None:
    client, number = Client(raise_request_exception=False), row_of(model).pk if model is not User else 1
    if who != "anonymous":
        user = User.objects.create_user(who, is_staff=who == "staff")
        Membership.objects.create(site=site, user=user, role=Role.OWNER)
        client.force_login(user)

    for path in (
        page(model, "changelist"),
        page(model, "add"),
        *(page(model, name, number) for name in ("change", "delete")),
    ):
        for response in (client.get(path), client.post(path, {"post": "yes"})):
            assert (response.status_code, response["Location"].partition("?")[0]) == (302, "/admin/login/"), path


@pytest.mark.parametrize("model", READ_ONLY, ids=name_of)
def test_row__of_a_read_only_table__cannot_be_added_changed_or_deleted(superuser: Client, model: type[Model]) -> None:
    pk, count = row_of(model).pk, model._default_manager.count()

    for path in (page(model, "add"), page(model, "change", pk), page(model, "delete", pk)):
        assert superuser.post(path, {"post": "yes"}).status_code == 403
    assert model._default_manager.count() == count


@pytest.mark.parametrize("model", [*MODELS, User], ids=name_of)
def test_table__of_any_model__has_no_actions_on_many_rows(superuser: Client, model: type[Model]) -> None:
    pks = list(model._default_manager.values_list("pk", flat=True))

    assert 'name="action"' not in text_of(superuser.get(page(model, "changelist")))
    superuser.post(page(model, "changelist"), {"action": "delete_selected", "_selected_action": pks, "post": "yes"})

    assert model._default_manager.count() == len(pks)


@pytest.mark.parametrize("model", [*MODELS, User], ids=name_of)
def test_list__odd_searches_filters_and_pages__never_fail(superuser: Client, model: type[Model]) -> None:
    table: Any = TABLES.get_model_admin(model)
    filters = [f"{name}{suffix}" for name in table.list_filter for suffix in ("__exact", "__gte")]
    for odd in ODD:
        for parameter in ("q", "p", *filters):
            answer = superuser.get(f"{page(model, 'changelist')}?{parameter}={odd}")
            assert answer.status_code in {200, 302, 400}, (parameter, odd)
        number = odd * 18 if odd == ARABIC_ONE else odd  # Python reads it as 1, which may be the id of a row
        assert superuser.get(page(model, "change", "1").replace("1", number)).status_code in {302, 404}, odd
    if model in READ_ONLY:
        for column in {field.name for field in model._meta.get_fields() if field.concrete} - set(table.list_filter):
            assert superuser.get(f"{page(model, 'changelist')}?{column}=x").status_code == 400, column


@pytest.mark.parametrize("model", READ_ONLY, ids=name_of)
def test_list__of_any_length__counts_a_bounded_number_of_rows(superuser: Client, model: type[Model]) -> None:
    with CaptureQueriesContext(connection) as queries:
        text_of(superuser.get(page(model, "changelist")))

    table = f'FROM "{model._meta.db_table}"'
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"] and table in query["sql"]]
    assert len(counts) == 1
    assert f"LIMIT {LIST_LIMIT}" in counts[0]


@pytest.mark.parametrize("model", [Rule, AuditEntry], ids=name_of)
def test_list__of_many_rows_with_a_site__takes_the_same_queries(
    superuser: Client, site: Site, model: type[Model], django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        Rule.objects.create(site=site, source=site.sources.get(), name=f"Rule {number}", action="drop")
        AuditEntry.objects.create(site=site, who="member", at=START, what="Changed a rule")

    with django_assert_max_num_queries(10):
        text_of(superuser.get(page(model, "changelist")))


def test_list__of_more_rows_than_it_shows__says_so(
    superuser: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedPaginator, "limit", 60)
    Persona.objects.bulk_create(Persona(site=site, name=f"persona {number}") for number in range(99))

    first = text_of(superuser.get(page(Persona, "changelist")))
    last = text_of(superuser.get(f"{page(Persona, 'changelist')}?p=2"))

    assert "ends after 60 rows" in first
    assert [number in first for number in ("persona 49<", "persona 48<")] == [True, False]
    assert [number in last for number in ("persona 48<", "persona 39<", "persona 38<")] == [True, True, False]


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
        (OwnKey, "prices"),
        (WaitingName, "wait"),
        (User, "member"),
    ],
    ids=name_of,
)
def test_list__search__finds_the_row_and_no_other(superuser: Client, model: type[Model], term: str) -> None:
    pk = row_of(model).pk

    for query, is_found in ((term, True), (f"{term}-not", False)):
        shown = text_of(superuser.get(f"{page(model, 'changelist')}?q={query}"))
        assert (page(model, "change", pk) in shown) is is_found


def test_message__that_was_rejected__is_found_by_its_id(superuser: Client) -> None:
    Message.objects.update(status=Message.Status.REJECTED, reason="missing_name")

    for query in ("q=m1", "status__exact=rejected"):
        shown = text_of(superuser.get(f"{page(Message, 'changelist')}?{query}"))
        assert page(Message, "change", Message.objects.get().pk) in shown


@pytest.mark.promise("K-18")
def test_goal__deleted__is_gone_with_its_conversions(superuser: Client) -> None:
    goal = Goal.objects.get()
    catalogue.delete_goal(goal, now=START)

    assert page(Goal, "change", goal.pk) not in text_of(superuser.get(page(Goal, "changelist")))
    assert superuser.get(page(Goal, "change", goal.pk)).status_code == 302
    assert "visitor-1" not in text_of(superuser.get(page(Conversion, "changelist")))


def test_page__unknown_below_the_admin__says_so(superuser: Client) -> None:
    response = superuser.get("/admin/none/")

    assert response.status_code == 404
    assert "Go to your site" in response.content.decode()
    assert response["Content-Type"].startswith("text/html")


def test_user_and_membership__made_changed_and_deleted__are_in_the_log(superuser: Client, site: Site) -> None:
    member = Membership.objects.get()
    password = {"password1": "let-me-in-17", "password2": "let-me-in-17"}
    changes: list[tuple[str, dict[str, Any], Site | None]] = [
        (page(User, "add"), {"username": "carl", **password}, None),
        (page(User, "change", member.user_id), {"first_name": "Bob"}, None),
        (reverse("admin:auth_user_password_change", args=[member.user_id]), password, None),
        (page(Membership, "change", member.pk), {"role": "owner"}, site),
        (page(Membership, "delete", member.pk), {"post": "yes"}, site),
        (page(User, "delete", member.user_id), {"post": "yes"}, None),
    ]
    for path, fields, concerned in changes:
        known = AuditEntry.objects.count()
        is_form = "delete" not in path and "password" not in path
        response: Any = superuser.post(path, {**form_of(superuser, path), **fields} if is_form else fields)
        assert response.status_code == 302, (path, response.content)
        (entry,) = AuditEntry.objects.order_by("pk")[known:]
        assert (entry.who, entry.site) == ("admin", concerned), path
        shown = {name: value for name, value in fields.items() if not name.startswith(("password", "post"))}
        assert shown.items() <= (entry.after or {}).items(), path

    log = json.dumps(list(AuditEntry.objects.values("what", "before", "after")))
    assert "let-me-in-17" not in log
    assert "pbkdf2" not in log
    assert "carl" in text_of(superuser.get(page(AuditEntry, "changelist")))

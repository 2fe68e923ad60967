"""Who may see and do what: every page and every action below a site, for everybody there is."""

from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern

from api.ingest import provisioning
from api.models import Alert, Erasure, GoalsChange, Membership, Message, Role, Rule, Source
from api.pages.urls import urlpatterns
from goals.models import Goal, GoalBinding, Tag
from tests.pages.ada import send_ada
from tests.pages.conftest import Enter
from tests.world import SITECODE, World

VIEWER, EDITOR, OWNER = Role.VIEWER, Role.EDITOR, Role.OWNER
MEMBERS: Final = (VIEWER, EDITOR, OWNER)


@dataclass(frozen=True)
class Rights:
    """The least role that may look at a page and that may post to it; None: nobody, the method is not there."""

    look: Role | None = VIEWER
    act: Role | None = None
    query: str = ""
    form: dict[str, Any] = field(default_factory=dict)
    goal: str = "goal_id"


READ: Final = Rights()
PERSON: Final = "?id=ada-king"
# Every page and action there is; a new one has to be entered here.
RIGHTS: Final[dict[str, Rights]] = {
    "home": READ,
    "goals": READ,
    "goals-change": Rights(None, EDITOR, form={"action": "archive", "goal": "{goal_id}"}),
    "goals-changing": Rights(EDITOR, EDITOR),
    "goals-export": READ,
    "goals-merge": Rights(EDITOR, EDITOR, query="?goal={goal_id}&goal={other_goal_id}"),
    "goals-twins": READ,
    "tags": READ,
    "tag-change": Rights(None, EDITOR, form={"do": "rename", "name": "another"}),
    "tag-remove": Rights(None, OWNER),
    "goal-new": Rights(EDITOR, EDITOR, form={"name": "By hand"}),
    "goal": READ,
    "goal-breakdown": READ,
    "goal-conversions": READ,
    "goal-edit": Rights(EDITOR, EDITOR, form={"name": "Another name"}),
    "goal-archive": Rights(None, EDITOR),
    "goal-restore": Rights(None, EDITOR),
    "goal-delete": Rights(EDITOR, EDITOR),
    "goal-unmerge": Rights(None, EDITOR, goal="merged_id"),
    "goal-group": Rights(EDITOR, EDITOR),
    "goal-unbind": Rights(None, EDITOR),
    "people": READ,
    "person": Rights(query=PERSON),
    "person-export": Rights(EDITOR, query=PERSON),
    "person-erase": Rights(OWNER, OWNER, query=PERSON, form={"id": "ada-king"}),
    "erasures": READ,
    "erasure": READ,
    "erasure-allow": Rights(None, OWNER),
    "why": READ,
    "personas": READ,
    "persona": Rights(query="?name=vip"),
    "persona-remove": Rights(OWNER, OWNER, query="?name=vip", form={"name": "vip"}),
    "groups": READ,
    "group": Rights(query="?id=acme"),
    "group-remove": Rights(OWNER, OWNER, query="?id=acme", form={"id": "acme"}),
    "events": READ,
    "events-rows": Rights(query="?after=0"),
    "events-failed": READ,
    "events-again": Rights(EDITOR, EDITOR, query="?status=failed&reason=digest_failed"),
    "event": READ,
    "event-body": READ,
    "delivery": READ,
    "reconciliation": READ,
    "settings": READ,
    "settings-save": Rights(None, OWNER),
    "settings-sources": READ,
    "settings-sources-change": Rights(None, OWNER, form={"do": "create", "name": "App", "kind": "browser"}),
    "settings-rules": READ,
    "settings-rules-change": Rights(None, OWNER, form={"do": "switch", "rule": "{rule_id}"}),
    "settings-rule-new": Rights(OWNER, OWNER),
    "settings-rule": Rights(OWNER, OWNER),
    "settings-alerts": Rights(OWNER),
    "settings-alerts-change": Rights(None, OWNER, form={"do": "switch", "alert": "{alert_id}"}),
    "settings-alert-new": Rights(OWNER, OWNER, form={"name": "Quota", "condition": "quota"}),
    "settings-alert": Rights(OWNER, OWNER, form={"name": "Quota", "condition": "quota"}),
    "settings-credentials": Rights(OWNER),
    "settings-credentials-change": Rights(None, OWNER, form={"do": "create", "name": "Another", "scope": "send"}),
    "settings-tokens": Rights(OWNER),
    "settings-tokens-change": Rights(
        None, OWNER, form={"do": "create", "description": "CI", "role": "viewer", "lifetime": "90"}
    ),
    "settings-members": Rights(OWNER),
    "settings-members-change": Rights(None, OWNER, form={"do": "invite", "username": "outsider", "role": "viewer"}),
    "settings-changes": Rights(OWNER),
    "tester": Rights(VIEWER, VIEWER),
    "guide": READ,
    "guide-custom": Rights(query="?of=trait"),
    "guide-heard": READ,
    "guide-way": READ,
}
# What only some may do of what a page's form offers.
FORMS: Final = [("tester", {"do": "send", "body": '{"type": "track", "event": "A", "userId": "u"}'}, EDITOR)]


@dataclass(frozen=True)
class Place:
    """Fills in the addresses of a site's pages."""

    sitecode: str
    numbers: dict[str, Any]

    def address(self, name: str) -> str:
        (pattern,) = [each for each in urlpatterns if each.name == name]
        assert isinstance(pattern, URLPattern)
        route = str(pattern.pattern)
        goal_id = self.numbers[RIGHTS[name].goal]
        given = {"sitecode": self.sitecode, "way": "curl", **self.numbers, "goal_id": goal_id}
        for parameter, converter in pattern.pattern.converters.items():
            kind = type(converter).__name__.removesuffix("Converter").lower().replace("string", "str")
            route = route.replace(f"<{kind}:{parameter}>", str(given[parameter]))
        assert "<" not in route
        return f"/admin/s/{route}{RIGHTS[name].query.format(**self.numbers)}"

    def form(self, fields: dict[str, Any]) -> dict[str, str]:
        return {
            name: str(value).format(**self.numbers) if "{" in str(value)[:1] else value
            for name, value in fields.items()
        }


@pytest.fixture
def place(world: World) -> Place:
    """A site with one of everything."""
    send_ada(world)
    world.track("Looked", userId="ada-king")
    goal, other = Goal.objects.order_by("id")[:2]
    merged = Goal.objects.create(site=world.site, name="Merged", merged_into=other)
    Message.objects.filter(pk=world.last_message().pk).update(status="failed", reason="digest_failed")
    source = provisioning.create_source(world.site, name="SDK", kind=Source.Kind.SERVER)
    tag = Tag.objects.filter(site=world.site)[0]
    binding = GoalBinding.objects.create(goal=goal, site=world.site, event_type="track", event_name="Buy")
    rule = Rule.objects.create(site=world.site, action=Rule.Action.NO_GOAL, name_test="equals", name_value="Never")
    now = source.created_at
    erasure = Erasure.objects.create(site=world.site, created_at=now, finished_at=now, hashes=[], sought=[])
    numbers = {
        "goal_id": goal.pk,
        "other_goal_id": other.pk,
        "merged_id": merged.pk,
        "tag_id": tag.pk,
        "binding_id": binding.pk,
        "erasure_id": erasure.pk,
        "number": world.last_message().pk,
        "source_id": source.pk,
        "rule_id": rule.pk,
        "change_id": GoalsChange.objects.create(site=world.site, action="archive", goal_ids=[goal.pk]).pk,
        "alert_id": Alert.objects.create(site=world.site, name="Lag", condition="lag", threshold=5).pk,
    }
    return Place(SITECODE, numbers)


def call(client: Client, method: str, address: str, form: dict[str, str]) -> HttpResponseBase:
    """Ask, and take back what it did."""
    with transaction.atomic():
        response = client.post(address, form) if method == "POST" else client.get(address)
        transaction.set_rollback(True)
    return response


def outcome(response: HttpResponseBase) -> str:
    """What the answer says of the right to ask."""
    if response.status_code == 302 and response.headers["Location"].startswith("/admin/login/"):
        return "login"
    return {403: "forbidden", 404: "absent", 405: "no such method"}.get(
        response.status_code, "allowed" if response.status_code < 500 else f"error {response.status_code}"
    )


def expected(who: str, least: Role | None) -> set[str]:
    if who == "anonymous":
        return {"login"}
    if who == "outsider":
        return {"absent"}
    if least is None:
        return {"no such method", "forbidden"}  # to one who may not anyway, no matter which
    if who == "superuser" or MEMBERS.index(Role(who)) >= MEMBERS.index(least):
        return {"allowed"}
    return {"forbidden"}


def test_rights__name_every_page() -> None:
    assert {pattern.name for pattern in urlpatterns} == set(RIGHTS)


@pytest.mark.parametrize("name", sorted(RIGHTS))
def test_page__to_everybody__is_what_their_role_allows(place: Place, enter: Enter, name: str) -> None:
    rights = RIGHTS[name]
    address = place.address(name)
    wrong = []
    for who in ("anonymous", "outsider", *MEMBERS, "superuser"):
        client = enter(who)
        for method, least in (("GET", rights.look), ("POST", rights.act)):
            if method == "POST" and least is None and rights.look is not None:
                continue  # a page that only shows does not look at the method
            got = outcome(call(client, method, address, place.form(rights.form)))
            if got not in expected(who, least):
                wrong.append((who, method, got))
    assert wrong == []


@pytest.mark.parametrize(("name", "form", "least"), FORMS)
def test_form__sent_by_everybody__does_what_their_role_allows(
    place: Place, enter: Enter, name: str, form: dict[str, str], least: Role
) -> None:
    for who in ("anonymous", "outsider", *MEMBERS, "superuser"):
        assert outcome(call(enter(who), "POST", place.address(name), form)) in expected(who, least), who


@pytest.mark.parametrize("name", sorted(name for name, rights in RIGHTS.items() if rights.act))
def test_action__without_the_forms_token__is_refused(place: Place, enter: Enter, name: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = enter("owner").cookies
    before = Message.objects.count(), Goal.objects.count(), Rule.objects.count(), User.objects.count()
    assert client.post(place.address(name), place.form(RIGHTS[name].form)).status_code == 403
    assert before == (Message.objects.count(), Goal.objects.count(), Rule.objects.count(), User.objects.count())


def names_with_numbers() -> list[str]:
    return sorted(str(each.name) for each in urlpatterns if set(each.pattern.converters) - {"sitecode", "way"})


@pytest.mark.parametrize("name", names_with_numbers())
def test_page__of_anothers_thing_below_ones_own_site__is_absent(place: Place, name: str) -> None:
    """The number of something of a foreign site opens nothing."""
    mine = provisioning.create_site(name="Mine", sitecode="mine000000")
    user = User.objects.create(username="neighbour")
    Membership.objects.create(user=user, site=mine, role=OWNER)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    address = Place(mine.sitecode, place.numbers).address(name)
    rights = RIGHTS[name]
    form = place.form(rights.form)
    methods = [method for method, least in (("GET", rights.look), ("POST", rights.act)) if least]
    assert {method: outcome(call(client, method, address, form)) for method in methods} == dict.fromkeys(
        methods, "absent"
    )

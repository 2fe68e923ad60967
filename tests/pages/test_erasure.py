"""A person is erased over all their identifiers, and nothing that comes late brings them back."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.test import Client

from api.checks.run import verify
from api.erasure import erase
from api.models import AuditEntry, Erasure, Message, Rule, Site, Suppression
from cohorts import changes, people
from cohorts.models import Identity, Link, PersonaFact
from goals import totals
from goals.models import Conversion, Goal, GoalBinding, Tag
from tests.goals.recount import assert_exact
from tests.support.ada import ENTERED, send_ada
from tests.support.concurrency import count_lock_waits, in_threads, wait_until
from tests.support.erasures import finish_erasures, places_with
from tests.support.messages import forget_messages
from tests.support.pages import address, browser_of, text_of
from tests.world import START, World

IDS = ("ada-king", "anon-1", "visitor-1", "lovelace")


@pytest.fixture
def site(world: World) -> Site:
    send_ada(world)
    return world.site


@pytest.fixture
def owner(site: Site) -> Client:
    return browser_of(site, "owner")


def contradictions() -> list[Any]:
    return [report for report in verify() if report.found]


def mention(world: World, id_: str) -> None:
    """Send every kind of event of other people that may contain an id."""
    number = int(id_) if id_.isdigit() else id_
    world.send(
        world.event("group", userId="grace", groupId="umbrella", traits={"owner": number, "staff": [{"id": id_}]}),
        world.event("group", at=1, userId="grace", groupId=id_, traits={"size": 3}),
        world.event("identify", at=2, userId="grace", traits={"manager": id_, "team": {id_: True}}),
        world.event("identify", at=2, userId="grace", traits={"note": f"asks {id_} often"}),
        world.event("track", at=3, userId="grace", event="Invited", properties={"by": number, "revenue": 5}),
        world.event("track", at=3, userId="grace", event="Paid", properties={"revenue": number}),
        world.event("track", at=4, userId="grace", event=id_),
        world.event("page", at=4, userId="grace", name=f"Profile of {id_}"),
        world.event("page", at=4, userId="grace", name="Mail", context={"page": {"url": f"https://x/?q={id_}"}}),
        world.event("track", at=5, userId="grace", event="Audience Entered", properties={"audience_key": id_}),
        world.event("track", at=6, userId="grace", messageId=id_),
        world.event("identify", at=7, userId="grace", messageId=id_, traits={"by_message": 1}),
        world.event("track", at=7, userId="grace", messageId=None, event="Audience Exited", properties={id_: False}),
        world.event(
            event="Experiment Viewed",
            at=8,
            userId="grace",
            properties={"experiment_id": "e", "experiment_name": id_, "variation_id": "v", "variation_name": id_},
        ),
    )


# Where an id may stay: a word or a number within a longer text, and an amount of money.
GOAL = {f"goals_goal.{column}" for column in ("name", "search_key", "sort_key")}
WORD = {"api_messagebody.body", "cohorts_identity.registers", *GOAL}
AMOUNT = {f"goals_{table}.revenue" for table in ("conversion", "goalvisitor", "goalday", "goaltotal")}
STAYS = {
    "ada@example.com": set[str](),
    "visitor-code-0123456789": set[str](),
    "ada-king": WORD,
    "1234567": WORD | AMOUNT | {"goals_conversion.properties"},
}


@pytest.mark.promise("N-13")
@pytest.mark.parametrize("id_", [*STAYS, "7"])
@pytest.mark.parametrize("is_pruned", [False, True])
def test_erase__whom_others_named__leaves_pseudonyms_and_every_proof(
    owner: Client, site: Site, world: World, id_: str, *, is_pruned: bool
) -> None:
    """Expect it for every place of the id, with and without the message that brought it."""
    world.identify(userId=id_, traits={"plan": "pro"})
    mention(world, id_)
    Goal.objects.get(name__endswith="Invited").tags.add(
        Tag.objects.create(site=site, name=id_), through_defaults={"site": site}
    )
    Rule.objects.create(site=site, event_type="alias", action="drop", name=id_, path_value=id_, group_traits={id_: id_})
    GoalBinding.objects.create(goal=Goal.objects.all()[0], site=site, event_type="screen", event_name=id_)
    world.change_site(goals_per_10_seconds=1)
    world.send(world.event("screen", userId="grace", name=f"{id_} "))
    assert world.statuses()[-1] == ("deferred", "goal_quota")
    world.change_site(goals_per_10_seconds=50)
    world.post(world.event("track", userId="grace", event="Invited", properties={"by": id_}))  # not processed yet
    if is_pruned:
        forget_messages(status="done")
        Conversion.objects.update(occurred_at=F("occurred_at") - timedelta(days=300))
        for goal in Goal.objects.all():
            totals.recount_goal(goal.site_id, goal.pk)
    before = figures(site)

    owner.post(address("people/person/erase/"), {"id": id_})
    while Erasure.objects.filter(finished_at=None).exists():
        assert contradictions() == []
        assert erase.sweep(now=datetime.now(UTC))

    assert figures(site) == before
    assert contradictions() == []
    if id_ != "7":
        assert columns_with(id_) <= STAYS[id_]
    world.digest()
    world.tend()
    assert world.statuses()[-2:] == [("done", "")] * 2
    assert contradictions() == []
    assert world.traits("grace")["manager"] == Erasure.objects.get().marker


def columns_with(text: str) -> set[str]:
    return {f"{table}.{column.partition(':')[0]}" for table, column in places_with(text)}


def figures(site: Site) -> Any:
    return list(
        Conversion.objects.filter(site=site).order_by("pk").values_list("goal", "occurred_at", "revenue", "currency")
    )


@pytest.mark.promise("N-13")
def test_erase__a_person__leaves_no_id_anywhere(owner: Client, site: Site, world: World) -> None:
    world.post(world.event(userId="ada-king", event=None))  # refused: without a name
    world.post(b'{"type": "track", "userId": "ada-king", "event": ')  # refused at the door
    world.digest()
    before = figures(site)
    assert {each.partition(": ")[2] for _, each in places_with(*IDS)} == set(IDS)

    response = owner.post(address("people/person/erase/"), {"id": "anon-1"})
    assert response.status_code == 302
    assert world.read("IDENTIFY_visitor-1") == {}  # at once
    assert contradictions() == []  # while the sweep goes on, too
    finish_erasures()

    assert places_with(*IDS) == []
    assert figures(site) == before
    (conversion,) = Conversion.objects.filter(site=site)
    assert (conversion.user_id, conversion.anonymous_id, conversion.properties) == (None, None, {})
    assert conversion.revenue == Decimal("12.5")
    assert world.read("COHORTS_grace") == {"vip": True}
    assert contradictions() == []


@pytest.mark.promise("N-13")
def test_erase__a_person_whose_device_was_shared__takes_the_links_and_no_figure(
    owner: Client, site: Site, world: World
) -> None:
    world.send(
        world.event("identify", userId="grace", anonymousId="anon-1", at=-9),  # before it was Ada's
        world.event("page", userId=None, anonymousId="anon-1", name="Home", kameleoonVisitorCode="visitor-1"),
        world.event(event="Bought", userId="grace", at=1),
        world.event(event="Bought", userId="bob", at=1),
        world.event("alias", userId="bob", previousId="grace", at=2),
    )
    assert Conversion.objects.filter(site=site, visitor_code="visitor-1").count() == 4
    before = figures(site)

    owner.post(address("people/person/erase/"), {"id": "ada-king"})
    finish_erasures()

    assert places_with(*IDS) == []
    assert not Link.objects.exists()
    assert Identity.objects.get(value="grace", kind=Identity.Kind.USER).parent_value == "bob"
    assert figures(site) == before
    assert contradictions() == []


@pytest.mark.promise("N-13")
@pytest.mark.parametrize(
    "late",
    [
        {"type_": "identify", "userId": "ada-king", "properties": {"plan": "pro"}},
        {"event": "Bought", "userId": None, "anonymousId": "anon-1"},
        {"event": "Bought", "userId": None, "properties": {"kameleoonVisitorCode": "visitor-1"}},
        {"event": "Bought", "userId": "new", "context": {"k_visitorCode": "visitor-1"}},
        {"type_": "alias", "userId": "new", "previousId": "ada-king"},
        {"event": None, "userId": "ada-king"},
    ],
)
def test_erase__a_late_retry__is_dropped(owner: Client, site: Site, world: World, late: dict[str, Any]) -> None:
    owner.post(address("people/person/erase/"), {"id": "ada-king"})
    finish_erasures()
    before = (figures(site), Identity.objects.count())
    world.send(world.event(**late))
    assert (figures(site), Identity.objects.count()) == before
    assert world.statuses()[-1] == ("done", "suppressed")
    assert places_with(*IDS) == []
    assert contradictions() == []


def test_erase__in_a_site_whose_ids_begin_late__takes_as_many_steps(site: Site) -> None:
    """Sequences serve all sites, and several servers may share them."""
    Conversion.objects.filter(site=site).update(id=F("id") + 1_000_000_000)
    erase.erase(site, "ada-king", by="x", now=datetime.now(UTC))

    steps = sum(erase.sweep(now=datetime.now(UTC)) for _ in range(100))

    assert Erasure.objects.get().finished_at is not None
    assert steps <= Erasure.Stage.DONE + 2
    assert contradictions() == []


def test_erase__then_allowed_again__the_person_may_come_back(owner: Client, site: Site, world: World) -> None:
    owner.post(address("people/person/erase/"), {"id": "ada-king"})
    finish_erasures()
    receipt = Erasure.objects.get()
    owner.post(address(f"people/erased/{receipt.pk}/allow/"), {"confirmed": "yes"})
    assert not Suppression.objects.exists()
    world.identify(userId="ada-king", traits={"plan": "free"})
    assert world.traits("ada-king") == {"plan": "free"}
    assert contradictions() == []


def test_erase__a_shared_browser__other_people_keep_what_is_theirs(owner: Client, site: Site, world: World) -> None:
    shared = {"kameleoonVisitorCode": "visitor-1"}
    world.send(
        world.event("identify", at=10, userId="grace", properties={**shared, "name": "Grace"}),  # now it is hers
        world.event("identify", at=20, userId="grace", properties={"kameleoonVisitorCode": "visitor-2"}),
        world.event(event="Bought", at=30, userId="grace"),
        world.event(event="Bought", at=7, userId="ada-king", properties=shared),
    )
    assert Identity.objects.get(kind=Identity.Kind.VISITOR, value="visitor-1").parent_value == "grace"
    owner.post(address("people/person/erase/"), {"id": "grace"})
    assert contradictions() == []
    finish_erasures()
    assert places_with("grace", "Grace", "visitor-1", "visitor-2") == []
    assert world.traits("ada-king")["plan"] == "pro"
    assert len(figures(site)) == 3
    assert contradictions() == []
    world.track("Bought", at=50, userId="ada-king", properties={"kameleoonVisitorCode": "visitor-3"})
    assert contradictions() == []


def test_erase__a_conversion_under_somebody_elses_code__is_found_too(owner: Client, site: Site, world: World) -> None:
    tablet = {"kameleoonVisitorCode": "tablet"}
    world.track("Bought", at=7, userId="ada-king", properties=tablet)
    world.identify(at=10, userId="grace", traits=tablet)  # no index leads from Ada to that conversion any more
    owner.post(address("people/person/erase/"), {"id": "ada-king"})
    finish_erasures()
    assert places_with(*IDS) == []
    assert contradictions() == []


def test_erase__ids_in_many_spellings__are_found_in_bodies(owner: Client, world: World, site: Site) -> None:
    for text in (b'"id/\\u00e9"', '"id/é"'.encode(), b'"id\\/\\u00e9"'):
        world.post(b'{"type": "identify", "userId": %b, "properties": {}}' % text)
    world.digest()
    kept = world.event("identify", userId="somebody", properties={"note": "not id/é, but a text with it"})
    world.send(kept)
    owner.post(address("people/person/erase/"), {"id": "id/é"})
    finish_erasures()
    assert Erasure.objects.get().messages == 3
    assert Message.objects.filter(message_id=kept["messageId"]).exists()


def test_erase__a_short_number__takes_no_other_messages(owner: Client, world: World, site: Site) -> None:
    before = Message.objects.count()
    world.identify(userId=7, traits={"age": 36})
    owner.post(address("people/person/erase/"), {"id": "7"})
    finish_erasures()
    assert Message.objects.count() == before
    assert world.traits("ada-king")["plan"] == "pro"


def test_erase__a_transaction_that_may_not_know__is_waited_for(owner: Client, site: Site, world: World) -> None:
    from api.http.database import connect

    with connect() as other, other.transaction():
        other.execute("SELECT pg_current_xact_id()")
        owner.post(address("people/person/erase/"), {"id": "ada-king"})
        assert not erase.sweep(now=datetime.now(UTC))
    finish_erasures()


@pytest.mark.promise("N-13")
def test_erase__while_a_batch_speaks_of_them__leaves_no_history_behind(world: World, site: Site) -> None:
    """The batch looked before the ids were suppressed: it locks the identity, and adds to its history."""
    said = changes.Change(START, 0, "late", user="ada-king", persona=("vip", True))
    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            people.apply(site.pk, [said], most_linked=500)
            now = datetime.now(UTC)
            erased = other.submit(in_threads, 1, lambda _: erase.erase(site, "ada-king", by="x", now=now))
            wait_until(lambda: erased.done() or count_lock_waits() == 1)
        erased.result()
    finish_erasures()
    identities = Identity.objects.values("pk")
    assert not PersonaFact.objects.exclude(identity__in=identities).exists()
    assert contradictions() == []


def test_erase__an_id_on_a_thousand_devices__is_refused(
    owner: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase, "MOST_IDENTITIES", 2)
    response = owner.post(address("people/person/erase/"), {"id": "ada-king"}, follow=True)
    assert "can’t be one person" in text_of(response)
    assert not Erasure.objects.exists()
    assert Identity.objects.filter(value="ada-king").exists()


def test_receipt__after_an_erasure__says_what_went_and_names_nobody(owner: Client, site: Site) -> None:
    response = owner.post(address("people/person/erase/"), {"id": "ada-king"}, follow=True)
    assert "A worker is searching" in text_of(response)
    finish_erasures()
    receipt = Erasure.objects.get()
    page = text_of(owner.get(address(f"people/erased/{receipt.pk}/")))
    assert receipt.hashes[0] in page
    assert not [each for each in IDS if each in page]
    assert (receipt.identities, receipt.usernames, receipt.conversions) == (3, 1, 1)
    assert receipt.messages == 6
    assert f"erased/{receipt.pk}/" in text_of(owner.get(address("people/erased/")))
    assert AuditEntry.objects.filter(site=site, who="owner").count() == 1


@pytest.mark.parametrize("who", ["anonymous", "outsider", "viewer", "editor"])
def test_erase__who_may_not__erases_nothing(site: Site, who: str) -> None:
    receipt = Erasure.objects.create(
        site=site, erased_by="x", created_at=datetime.now(UTC), sought=[], hashes=["a"], finished_at=datetime.now(UTC)
    )
    client = browser_of(site, who)
    status = {"anonymous": 302, "outsider": 404}.get(who, 403)
    assert client.get(address("people/person/erase/?id=ada-king")).status_code == status
    assert client.post(address("people/person/erase/"), {"id": "ada-king"}).status_code == status
    assert client.post(address(f"people/erased/{receipt.pk}/allow/")).status_code == status
    assert Identity.objects.filter(value="ada-king").exists()
    read = {"anonymous": 302, "outsider": 404}.get(who, 200)
    assert client.get(address("people/erased/")).status_code == read
    assert client.get(address(f"people/erased/{receipt.pk}/")).status_code == read


def test_suppression__another_site__is_not_meant(owner: Client, site: Site, world: World) -> None:
    owner.post(address("people/person/erase/"), {"id": "ada-king"})
    finish_erasures()
    world.send(world.event("track", userId="grace-2", **ENTERED))
    assert world.read("COHORTS_grace-2") == {"vip": True}
    with transaction.atomic():
        assert Suppression.objects.filter(site=site).count() == 3


def test_erasure__of_somebody_with_very_many_conversions__forgets_them_some_at_a_time(site: Site, world: World) -> None:
    many = 7_000
    world.identify(userId="kiosk", kameleoonVisitorCode="v9")
    world.track("Buy", userId="kiosk")
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO goals_conversion (site_id, goal_id, message_key, occurred_at, visitor_code, keyed_by, user_id,
                                          properties)
            SELECT site_id, goal_id, 'track:erase-' || n, occurred_at - interval '30 days' + n * interval '1 minute',
                   visitor_code, keyed_by, user_id, '{}'
              FROM goals_conversion, generate_series(2, %s) n WHERE user_id = 'kiosk'
            """,
            [many],
        )
    call_command("recount", stdout=StringIO())
    erased = erase.erase(site, "kiosk", by="ada", now=datetime.now(UTC))
    assert erased is not None

    assert Conversion.objects.filter(user_id="kiosk").count() == many - erase.CHUNK
    assert [report.check for report in verify() if report.found] == []  # it is known to go on
    finish_erasures()
    erased.refresh_from_db()
    assert erased.conversions == many
    assert not Conversion.objects.filter(user_id="kiosk").exists()
    assert_exact()

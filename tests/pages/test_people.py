"""People are found by any identifier; their page shows what is known, from whom and since when."""

import json
import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from api.models import AuditEntry, Site
from cohorts import remote_data
from cohorts.models import Group, Identity, Persona
from tests.support.ada import ENTERED, EXITED, send_ada
from tests.support.messages import forget_messages
from tests.support.pages import address, browser_of, text_of
from tests.support.people import persona_changes
from tests.world import World

PAGES = (
    "people/",
    "people/person/?id=ada-king",
    "personas/",
    "personas/persona/?name=vip",
    "groups/",
    "groups/group/?id=acme",
)


@pytest.fixture
def site(world: World) -> Site:
    send_ada(world)
    return world.site


@pytest.fixture
def viewer(site: Site) -> Client:
    return browser_of(site, "viewer")


@pytest.fixture
def editor(site: Site) -> Client:
    return browser_of(site, "editor")


@pytest.mark.parametrize("text", ["ada-king", "anon-1", "visitor-1", "lovelace", " ada-king ", "Ada-K", "LOVE"])
def test_find__any_identifier__leads_to_the_person(viewer: Client, text: str) -> None:
    response = viewer.get(address("people/"), {"q": text}, follow=True)
    page = text_of(response)
    assert all(each in page for each in ("ada-king", "anon-1", "visitor-1", "lovelace", "acme"))


@pytest.mark.parametrize("text", ["da-king", "nobody", "'; --", "\0", "%", "_"])
def test_find__nobody__says_so(viewer: Client, text: str) -> None:
    assert "No one found for" in text_of(viewer.get(address("people/"), {"q": text}))


def test_person__with_a_history__shows_who_said_what_and_when(viewer: Client) -> None:
    page = text_of(viewer.get(address("people/person/?id=anon-1")))
    assert "plan" in page
    assert "36" in page
    assert "2026-11-22T03:00:01Z" in page  # when age was said
    assert "message-2" in page  # and by which message
    assert "EUR 12.50" in page
    assert '<span class="gp-type">track</span> <bdi>Bought</bdi>' in page
    assert ">out<" in page
    assert "2026-11-22T03:00:04Z" in page


def test_person__remote_data__is_what_an_sdk_gets(viewer: Client, world: World) -> None:
    response = viewer.get(address("people/person/?id=visitor-1"))
    text_of(response)
    (_, public), (_, full) = response.context["documents"]
    for document, token in ((public, False), (full, True)):
        for key in ("IDENTIFY_visitor-1", "COHORTS_visitor-1"):
            assert json.loads(document)[key] == world.read(key, token=token)
    assert "age" in full
    assert "age" not in public


@pytest.mark.parametrize("id_", ["<script>alert(1)</script>", "a b/c?d&é", 'quote"', "x" * 255])
def test_person__any_text_as_an_id__is_found_and_escaped(viewer: Client, world: World, id_: str) -> None:
    world.identify(userId=id_, traits={"<b>": "<i>"})
    page = text_of(viewer.get(address("people/"), {"q": id_}, follow=True))
    assert escape(id_) in page
    assert "<script>alert" not in page
    assert "&lt;b&gt;" in page
    assert escape(id_) in text_of(viewer.get(address(f"people/person/?id={quote(id_, safe='')}")))


def test_person__entered_and_left__has_a_history_that_outlives_the_messages(editor: Client, world: World) -> None:
    world.send(
        world.event("track", at=8, userId=None, anonymousId="anon-1", messageId="again", **ENTERED),
        world.event("track", at=9, userId="ada-king", messageId="known", **ENTERED),
        world.event("track", at=7, userId="ada-king", messageId="late", **EXITED),
    )
    expected = [
        ("vip", "entered", "again", "anonymous anon-1"),
        ("vip", "left", "message-5", "user ada-king"),
        ("vip", "entered", "message-4", "user ada-king"),
    ]
    for source in ("destination", None):
        response: Any = editor.get(address("people/person/?id=visitor-1&kind=persona"))
        assert "2026-11-22T03:00:08Z" in text_of(response)
        moments = response.context["timeline"].moments
        assert [(each.name, "entered" if each.has_entered else "left", each.message_id) for each in moments] == [
            row[:3] for row in expected
        ]
        assert [each.event is not None for each in moments] == [source is not None] * 3
        changes = persona_changes(world.site, response.context["person"].identities)
        assert [
            (each.persona, "entered" if each.has_entered else "left", each.message_id, each.said_of) for each in changes
        ] == expected
        assert [each.message and each.message.source and each.message.source.kind for each in changes] == [source] * 3
        held = json.loads(text_of(editor.get(address("people/person/export/?id=visitor-1"))))["personaHistory"]
        assert [(each["persona"], each["change"], each["messageId"]) for each in held] == [row[:3] for row in expected]
        forget_messages()  # as pruning does in the end


@pytest.mark.parametrize("ids", [("a", "B"), ("B", "a"), ("é", "z"), ("z", "é")])
def test_history__of_equal_times__ends_as_the_register_does(world: World, ids: tuple[str, str]) -> None:
    """In whatever order the two come: the messageId decides, by its bytes."""
    one, other = ids
    for event in (ENTERED | {"messageId": one}, EXITED | {"messageId": other}):
        world.send(world.event("track", userId="eve", **event))
    (eve,) = Identity.objects.filter(value="eve")
    is_in = eve.registers["personas"]["vip"][3]
    assert is_in == (one > other)
    assert persona_changes(world.site, [eve])[0].has_entered == is_in


def test_person__nobody__is_not_found(viewer: Client) -> None:
    assert viewer.get(address("people/person/?id=nobody")).status_code == 404
    assert viewer.get(address("people/person/")).status_code == 404


def test_export__a_person__holds_all_that_is_known(editor: Client) -> None:
    response: Any = editor.get(address("people/person/export/?id=anon-1"))
    held = json.loads(text_of(response))
    assert "attachment" in response["Content-Disposition"]
    assert [(each["kind"], each["id"]) for each in held["identities"]] == [
        ("user", "ada-king"),
        ("visitor", "visitor-1"),
        ("anonymous", "anon-1"),
    ]
    assert held["usernames"] == ["lovelace"]
    assert [each["goal"] for each in held["conversions"]] == ["SegmentIO track – Bought"]
    assert json.loads(held["messages"][0]["body"])["event"] == "Bought"
    assert held["remoteData"]["IDENTIFY_anon-1"]["traits"]["age"] == 36


def test_export__a_person__is_in_the_log_without_saying_who(editor: Client, site: Site) -> None:
    for id_ in ("anon-1", "ada-king"):
        text_of(editor.get(address(f"people/person/export/?id={id_}")))
    editor.get(address("people/person/export/?id=nobody"))

    for entry in AuditEntry.objects.all():
        assert (entry.site, entry.what, entry.before) == (site, "Exported a person", None)
        assert entry.user is not None
        assert entry.user.get_username() == entry.who
        assert entry.after == {"identifiers": 3}
    assert AuditEntry.objects.count() == 2


def test_personas__with_members__have_their_size_and_page(viewer: Client) -> None:
    response: Any = viewer.get(address("personas/"))
    assert "at least" not in text_of(response)
    assert [
        (row.persona.name, row.members, [f"{time:%M:%S}" for time in row.times]) for row in response.context["rows"]
    ] == [("vip", 1, ["00:03", "00:06"])]
    page = text_of(viewer.get(address("personas/persona/?name=vip")))
    assert "grace" in page
    assert "id=ada-king" not in page


@pytest.mark.promise("B-19")
def test_group__with_members__shows_traits_members_and_conversions(viewer: Client, world: World) -> None:
    world.send(
        world.event("group", at=7, userId="grace", groupId="umbrella", traits={"tier": "silver"}),
        world.event("track", at=8, event="Sold", userId="grace"),
        world.event("group", at=9, userId="linus", groupId="acme"),
        world.event("group", at=10, userId="linus", groupId="umbrella"),
    )
    assert {"acme", "umbrella"} <= set(re.findall(r"id=(\w+)", text_of(viewer.get(address("groups/")))))
    theirs = {"acme": ("gold", {"ada-king"}, "Bought"), "umbrella": ("silver", {"grace", "linus"}, "Sold")}
    for group, (tier, members, event) in theirs.items():
        response: Any = viewer.get(address(f"groups/group/?id={group}"))
        assert {identity.value for identity, _ in response.context["rows"]} == members
        page = text_of(response)
        assert {each for each in ("gold", "silver") if each in page} == {tier}
        assert set(re.findall(r'<span class="gp-type">track</span> <bdi>([A-Z][a-z]+)', page)) == {event}


def test_members__more_than_a_page__follow_each_other(viewer: Client, world: World) -> None:
    names = [f"user-{number:03}" for number in range(120)]
    world.send(*(world.event("track", userId=name, **ENTERED) for name in names))
    seen: list[str] = []
    page = "personas/persona/?name=vip"
    while page:
        text = text_of(viewer.get(address(page)))
        seen += re.findall(r"people/person/\?id=([^\"]+)", text)
        (page,) = [unescape(each) for each in re.findall(r'href="(\?[^"]+kind[^"]+)">Next', text)] or [""]
        page = page and f"personas/persona/{page}"
    assert seen == sorted(["grace", *names])


@pytest.mark.parametrize("page", PAGES)
def test_pages__many_queries__are_at_most_thirteen(
    viewer: Client, django_assert_max_num_queries: DjangoAssertNumQueries, page: str
) -> None:
    viewer.get(address(page))
    with django_assert_max_num_queries(13):  # one for the keys of messages, which are apart from them
        text_of(viewer.get(address(page)))


@pytest.mark.parametrize("page", [*PAGES, "people/person/export/?id=ada-king"])
@pytest.mark.parametrize("who", ["anonymous", "outsider", "viewer", "editor", "owner", "superuser"])
def test_pages__whoever_asks__see_what_their_role_allows(site: Site, who: str, page: str) -> None:
    allowed = 403 if who == "viewer" and "export" in page else 200
    status = {"anonymous": 302, "outsider": 404}.get(who, allowed)
    assert browser_of(site, who).get(address(page)).status_code == status


# Limits


def change_registers(value: str, **registers: Any) -> None:
    identity = Identity.objects.get(value=value)
    Identity.objects.filter(pk=identity.pk).update(registers={**identity.registers, **registers})


def test_person__of_whom_limits_left_something_out__says_what_is_kept(viewer: Client) -> None:
    page = address("people/person/?id=ada-king")
    assert "Only the latest" not in text_of(viewer.get(page))
    at = 1_700_000_000_000_000
    change_registers("ada-king", left_out={"traits": at, "personas": at, "history": at})

    text = text_of(viewer.get(page))

    assert "Only the latest 500 traits are kept" in text
    assert "Only the latest 300 personas are kept" in text
    assert "Only the latest 1,000 changes of each identifier are kept" in text
    assert text.count("14 Nov 2023, 22:13:20</time>, are left out") == 3


def test_person__too_large_to_be_read_whole__says_so_and_is_exported_whole(viewer: Client, editor: Client) -> None:
    Identity.objects.filter(value="anon-1").update(bytes=5_000_000)

    text = text_of(viewer.get(address("people/person/?id=ada-king")))
    exported = json.loads(text_of(editor.get(address("people/person/export/?id=ada-king"))))

    assert "These identifiers hold more than 4,194,304 bytes together. Facts of" in text
    held = {each["id"]: each["registers"] for each in exported["identities"]}
    assert held["anon-1"] == Identity.objects.get(value="anon-1").registers != {}


def test_person__in_a_persona_that_is_not_listed__has_no_link_to_it(viewer: Client) -> None:
    page = address("people/person/?id=ada-king")
    assert "personas/persona/?name=vip" in text_of(viewer.get(page))
    Persona.objects.filter(name="vip")._raw_delete(using="default")

    text = text_of(viewer.get(page))

    assert "vip <span" in text
    assert "not listed" in text


def test_group__whose_limit_left_something_out__says_what_is_kept(viewer: Client) -> None:
    page = address("groups/group/?id=acme")
    assert "Only the latest" not in text_of(viewer.get(page))
    group = Group.objects.get(group_id="acme")
    Group.objects.update(registers={**group.registers, "left_out": {"traits": 1_700_000_000_000_000}})

    assert "Only the latest 500 traits are kept" in text_of(viewer.get(page))


def test_groups__in_the_list__have_the_number_of_their_traits(world: World, viewer: Client) -> None:
    world.send(world.event("group", groupId="acme", traits={f"t{number}": 1 for number in range(77)}))
    world.send(world.event("group", groupId="empty"))

    response: Any = viewer.get(address("groups/"))
    text_of(response)

    rows = {row.group.group_id: row.summary.traits for row in response.context["rows"]}
    assert rows["empty"] == 0
    assert rows["acme"] >= 77


def test_personas__as_many_as_a_site_lists__says_so_and_how_to_remove_some(site: Site, viewer: Client) -> None:
    there = Persona.objects.filter(site=site).count()
    new = [Persona(site=site, name=f"p{number}") for number in range(remote_data.MOST_LISTED - there)]
    Persona.objects.bulk_create(new[1:])
    assert "are not listed" not in text_of(viewer.get(address("personas/")))
    new[0].save()

    text = text_of(viewer.get(address("personas/")))

    assert "This site has 2,000 personas or more, so new ones are not listed" in text
    assert "Remove personas you no longer need" in text

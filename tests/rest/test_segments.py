"""Segments in the management API: made, tried, changed, read, and asked about a person."""

from typing import Any
from urllib.parse import quote

import pytest

from api.models import AuditEntry
from cohorts.segment_tables import Segment
from tests.support.management_api import Caller, body, message, refusal
from tests.support.rest_access import holder_of
from tests.support.segments import keep_up, make_segment
from tests.world import SITECODE, World

PRO: dict[str, Any] = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}
ADULT: dict[str, Any] = {
    "on": "trait",
    "path": ["age"],
    "test": {"type": "number", "how": "at_least", "number": "18"},
}


def people(world: World, number: int = 5) -> None:
    plans = ("pro", "free")
    world.send(*(world.event("identify", userId=f"u{n}", traits={"plan": plans[n % 2]}) for n in range(number)))


def test_segment__created_and_filled__is_as_it_was_sent_with_its_size(world: World, owner: Caller) -> None:
    people(world)

    made = body(owner.post("/api/segments", {"name": "pro", "conditions": [[PRO], [PRO, ADULT]]}))

    assert (made["version"], made["state"], made["percent"], made["members"]) == (1, "filling", 0, 0)
    Segment.objects.update(created_at=world.site.created_at.replace(year=2020))
    keep_up()
    read = owner.get(f"/api/segments/{made['id']}")
    assert read["conditions"] == [[PRO], [PRO, ADULT]]
    assert (read["state"], read["percent"], read["members"], read["isCounted"]) == ("ready", 100, 3, True)
    assert (read["sitecode"], read["siteId"], read["dependents"]) == (SITECODE, world.site.pk, [])
    assert "custom data" in read["withheldBecause"]
    assert owner.get("/api/segments") == owner.get(f"/api/segments?site={SITECODE}") == [read]


def test_segment__read_by_a_caller_who_may_not_read_people__says_no_size(world: World) -> None:
    """Otherwise a segment on an e-mail address and a trait would tell the trait of its person."""
    people(world)
    segment = make_segment(world.site, [PRO])
    writer, reader = holder_of(world, "read", "write"), holder_of(world, "read", "read:personal")
    path = f"/api/segments/{segment.pk}"

    seen = [writer.get(path), *writer.get("/api/segments"), body(writer.ask("PATCH", path, {"name": "renamed"}))]

    assert [each["members"] for each in seen] == [None, None, None]
    assert [each["members"] for each in (reader.get(path), *reader.get("/api/segments"))] == [3, 3]
    assert refusal(writer.ask("GET", f"{path}/history")) == (403, "insufficient_scope")


def test_segments__by_page__are_in_the_order_of_names(world: World, owner: Caller) -> None:
    for name in ("b", "A", "c10", "c9"):
        make_segment(world.site, [PRO], name=name)

    pages = [owner.ask("GET", f"/api/segments?perPage=3&page={page}") for page in (1, 2)]

    assert [[row["name"] for row in body(page)] for page in pages] == [["A", "b", "c9"], ["c10"]]
    assert (pages[0]["X-Pagination-Page-Count"], pages[0]["X-Pagination-Total-Count"]) == ("2", "4")


def test_creation__repeated_with_its_key__creates_one(world: World, owner: Caller) -> None:
    new = {"name": "pro", "conditions": [[PRO]]}
    first, again = (owner.ask("POST", "/api/segments", new, **{"idempotency-key": "1"}) for _ in range(2))

    assert (first.status_code, again.content) == (201, first.content)
    assert Segment.objects.count() == AuditEntry.objects.count() == 1
    assert refusal(owner.post("/api/segments", new)) == (409, "name_taken")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"conditions": [[{"on": "moon"}]]}, "conditions: [0][0].on: Invalid value 'moon'."),
        ({"conditions": []}, "conditions: A segment needs a condition. Add one."),
        ({"conditions": "x"}, "conditions: Expected `array`, got `str`."),
        ({"conditions": [[PRO], [{"on": "goal", "goal": 1}]]}, "[1][0].goal: The site has no goal with the id 1."),
        ({"conditions": [[{"on": "persona", "name": "a\0"}]]}, "[0][0].name: A text must not have a null character."),
        ({}, "conditions: This field is required."),
        ({"conditions": [[PRO]], "name": "a\0"}, "name: Null characters are not allowed."),
    ],
)
def test_segment__that_is_wrong__is_refused_with_each_place(
    world: World, owner: Caller, given: dict[str, Any], sentence: str
) -> None:
    answer = owner.post("/api/segments", {"name": "pro", **given})

    assert refusal(answer) == (400, "invalid_request")
    assert sentence in message(answer)
    assert not Segment.objects.exists()


def test_segment__changed__is_found_again_and_audited(world: World, owner: Caller) -> None:
    people(world)
    segment = make_segment(world.site, [PRO], name="pro")
    path = f"/api/segments/{segment.pk}"

    renamed = body(owner.patch(path, {"name": "Paying"}))
    changed = body(owner.patch(path, {"conditions": [[PRO | {"negated": True}]]}))

    assert (renamed["name"], renamed["version"], renamed["members"]) == ("Paying", 1, 3)
    assert (changed["name"], changed["version"], changed["state"], changed["members"]) == ("Paying", 2, "filling", 0)
    assert list(AuditEntry.objects.values_list("what", flat=True).distinct()) == [f"Changed the segment {segment.pk}"]
    assert refusal(owner.patch(path, {"conditions": [[{"on": "segment", "segment": segment.pk}]]}))[0] == 400


def test_segment__that_another_names__is_deleted_after_that(world: World, owner: Caller) -> None:
    segment = make_segment(world.site, [PRO], name="pro")
    other = make_segment(world.site, [{"on": "segment", "segment": segment.pk}], name="other")

    assert owner.get(f"/api/segments/{segment.pk}")["dependents"] == [{"id": other.pk, "name": "other"}]
    refused = owner.ask("DELETE", f"/api/segments/{segment.pk}")
    assert refusal(refused) == (409, "in_use")
    for each in (other, segment):
        assert owner.ask("DELETE", f"/api/segments/{each.pk}").status_code == 204
        assert refusal(owner.ask("GET", f"/api/segments/{each.pk}")) == (404, "not_found")


def test_preview__of_a_draft__says_who_would_enter_and_leave(world: World, owner: Caller) -> None:
    people(world)
    segment = make_segment(world.site, [PRO], name="pro")
    draft = {"conditions": [[PRO | {"negated": True}]], "segmentId": segment.pk}

    preview = body(owner.post("/api/segments/preview", draft))

    assert preview == {
        "people": 5,
        "isComplete": True,
        "members": 2,
        "entering": 2,
        "leaving": 3,
        "sample": [{"kind": "user", "value": f"u{n}"} for n in (1, 3)],
        "enteringSample": [{"kind": "user", "value": f"u{n}"} for n in (1, 3)],
        "leavingSample": [{"kind": "user", "value": f"u{n}"} for n in (0, 2, 4)],
    }
    segment.refresh_from_db()
    assert segment.version == 1
    assert refusal(owner.post("/api/segments/preview", {**draft, "segmentId": 10**12})) == (404, "not_found")
    assert refusal(owner.post("/api/segments/preview", {"conditions": [[]]})) == (400, "invalid_request")


def test_members_and_entries__by_page__follow_by_cursor(world: World, owner: Caller) -> None:
    segment = make_segment(world.site, [PRO], name="pro")
    people(world, 10)

    for kind, order in (("members", 1), ("entries", -1)):
        seen, cursor = [], ""
        while True:
            page = owner.get(f"/api/segments/{segment.pk}/{kind}?limit=2{cursor}")
            seen += [row["value"] for row in page["results"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={quote(str(page['next']))}"
        assert len(seen) == len(set(seen)) == 5
        assert seen == sorted(seen)[::order], kind
        wrong = owner.ask("GET", f"/api/segments/{segment.pk}/{kind}?cursor=x")
        assert refusal(wrong) == (400, "invalid_request")
    history = owner.get(f"/api/segments/{segment.pk}/history?days=2")
    assert [(day["entered"], day["left"]) for day in history] == [(5, 0)]
    assert page["results"][0]["hasEntered"] is True


@pytest.mark.parametrize("cursor", ['["2026-11-22T03:00:00",1]', '["2026-11-22T03:00:00Z",-1]', "[1]"])
def test_entries__with_an_odd_cursor__are_refused(world: World, owner: Caller, cursor: str) -> None:
    segment = make_segment(world.site, [PRO])

    answer = owner.ask("GET", f"/api/segments/{segment.pk}/entries?cursor={quote(cursor)}")

    assert refusal(answer) == (400, "invalid_request")


def test_person__asked_about_its_segments__gets_each_with_its_conditions(world: World, owner: Caller) -> None:
    make_segment(world.site, [PRO, {"on": "group"}], name="a")
    make_segment(world.site, [{"on": "persona", "name": "vip"}], name="b")
    world.identify(traits={"plan": "pro"})

    first, second = owner.get(f"/api/sites/{SITECODE}/person/segments?id=user-1")

    assert (first["name"], first["isMember"], first["isServed"], first["until"]) == ("a", True, True, None)
    assert first["groups"] == [
        [
            {"condition": PRO, "holds": True, "until": None},
            {"condition": {"on": "group"}, "holds": False, "until": None},
        ]
    ]
    assert (second["name"], second["isMember"], second["since"]) == ("b", False, None)
    assert refusal(owner.ask("GET", f"/api/sites/{SITECODE}/person/segments?id=nobody")) == (404, "not_found")
    assert AuditEntry.objects.get().what == "Read data of people through the management API"

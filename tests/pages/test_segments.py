"""Pages of segments: list, one segment, builder, removal, and a person's segments."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.models import AuditEntry
from cohorts.models import CustomData
from cohorts.segment_tables import Segment, SegmentChange, SegmentMember
from goals.flags.models import FeatureFlag
from goals.models import Goal
from tests.support.pages import Enter, address, text_of
from tests.support.segments import keep_up, make_segment
from tests.world import World

VIP = {"on": "persona", "name": "vip"}
PRO = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}
FORM = {"name": "Pros", "at": "0.0", "0.0.on": "trait", "0.0.path": "plan", "0.0.test": "text.equals"}


@pytest.fixture
def people(world: World) -> World:
    """Return a site with ada, who is on the plan pro, and bob, who is on no plan."""
    world.send(
        world.event("identify", userId="ada", traits={"plan": "pro", "email": "ada@example.com"}),
        world.event("identify", userId="bob", traits={"age": 5}),
    )
    return world


def sent(form: dict[str, str], page: str) -> dict[str, str]:
    """Return a form with the preview and the segment that a page showed."""
    hidden = {name: page.partition(f'name="{name}" value="')[2].partition('"')[0] for name in ("previewed", "seen")}
    return {**form, **hidden}


def test_list__shows_members_state_and_what_uses_a_segment(people: World, enter: Enter) -> None:
    site = people.site
    pros = make_segment(site, [PRO], name="Pros")
    make_segment(site, [{"on": "segment", "segment": pros.pk}], name="Also pros")
    Segment.objects.create(site=site, name="New one", conditions=[[VIP]], to_sweep=10, swept=4)
    CustomData.objects.create(site=site, index=3, name="is pro", filled_from="segment", filling=str(pros.pk))
    FeatureFlag.objects.create(site=site, key="checkout", document={"rules": [{"segmentId": pros.pk}]})

    text = text_of(enter("viewer").get(address("segments/")))
    row = text[text.index(">Pros</a>") : text.index("</tr>", text.index(">Pros</a>"))]

    assert '<td class="gp-number gp-key">1<' in row
    assert all(use in row for use in ("Also pros", "checkout", "3 <span", "ready"))
    assert "filling, 40 %" in text
    assert "New segment" not in text  # a viewer makes none
    assert "New segment" in text_of(enter("editor").get(address("segments/")))


def test_segment__shows_conditions_members_and_history(people: World, enter: Enter) -> None:
    segment = make_segment(people.site, [PRO, VIP], [{"on": "group", "negated": True}], name="Pros")
    people.send(people.event("identify", at=10, userId="eve", traits={"plan": "pro"}))
    people.send(people.event("identify", at=20, userId="eve", traits={"plan": "free"}))

    viewer = enter("viewer")
    text = text_of(viewer.get(address(f"segments/{segment.pk}/")))
    members = text_of(viewer.get(address(f"segments/{segment.pk}/members/")))
    history = text_of(viewer.get(address(f"segments/{segment.pk}/history/")))

    assert "Trait plan is “pro”" in text
    assert "Is in the persona “vip”" in text
    assert "Has no group" in text
    assert "person/?id=ada" in members
    assert "person/?id=eve" not in members
    assert history.count("person/?id=eve") == 2  # the entry and the exit
    assert "<b>1</b><span>member</span>" in text
    assert "Entries and exits a day" in history
    assert f"segments/{segment.pk}/edit/" not in text


def test_members__searched__are_only_members(people: World, enter: Enter) -> None:
    segment = make_segment(people.site, [PRO])
    viewer = enter("viewer")

    assert "person/?id=ada" in text_of(viewer.get(address(f"segments/{segment.pk}/members/?q=ada@exa")))
    assert "No member found for “bob”" in text_of(viewer.get(address(f"segments/{segment.pk}/members/?q=bob")))


def test_history__of_more_than_a_page__goes_on(people: World, enter: Enter) -> None:
    segment = make_segment(people.site, [PRO])
    identity = SegmentMember.objects.get(segment=segment).identity_id
    at = datetime.now(UTC)
    SegmentChange.objects.bulk_create(
        SegmentChange(
            site=people.site,
            segment=segment,
            identity_id=identity,
            at=at - timedelta(minutes=number),
            is_member=bool(number % 2),
        )
        for number in range(60)
    )
    viewer = enter("viewer")
    response: Any = viewer.get(address(f"segments/{segment.pk}/history/"))
    older: Any = viewer.get(address(f"segments/{segment.pk}/history/?{response.context['older']}"))

    assert (len(response.context["changes"]), len(older.context["changes"])) == (50, 10)
    assert older.context["older"] == ""


def test_new_segment__is_saved_after_its_preview(people: World, enter: Enter) -> None:
    editor = enter("editor")
    form = {**FORM, "0.0.texts": "pro\r\nbusiness", "do": "save"}

    page = text_of(editor.post(address("segments/new/"), form))
    assert not Segment.objects.exists()
    assert "<b>1</b><span>member among 2 people</span>" in page
    assert "person/?id=ada" in page
    assert "Trait plan is “pro” or “business”" in page
    assert "would enter" not in page
    response = editor.post(address("segments/new/"), sent(form, page))

    segment = Segment.objects.get()
    assert response.headers["Location"] == address(f"segments/{segment.pk}/")
    assert segment.conditions == [
        [{"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro", "business"]}}]
    ]
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.what, entry.before) == ("editor", f"Created the segment {segment.pk}", None)


def test_edit__shows_who_would_enter_and_leave__before_it_is_saved(people: World, enter: Enter) -> None:
    segment = make_segment(people.site, [PRO], name="Pros")
    editor, page = enter("editor"), address(f"segments/{segment.pk}/edit/")
    shown = text_of(editor.get(page))
    assert 'value="plan"' in shown
    assert ">pro</textarea>" in shown
    form = {"name": "Old", "at": "0.0", "0.0.on": "trait", "0.0.path": "age", "0.0.test": "number.at_least"}
    form |= {"0.0.number": "5", "do": "preview"}

    preview = text_of(editor.post(page, form))

    assert "<b>1</b><span>would enter</span>" in preview
    assert "<b>1</b><span>would leave</span>" in preview
    entering, leaving = preview.index("<h3>Would enter"), preview.index("<h3>Would leave")
    assert "Trait age is at least 5" in preview[entering:leaving]
    assert "Not: trait age is at least 5" in preview[leaving:]
    segment.refresh_from_db()
    assert segment.name == "Pros"

    changed = {**sent(form, preview), "0.0.number": "6", "do": "save"}
    stale = text_of(editor.post(page, changed))
    assert "The conditions changed after the preview." in stale
    assert Segment.objects.get().name == "Pros"
    assert editor.post(page, {**sent(changed, stale), "do": "save"}).status_code == 302
    segment.refresh_from_db()
    assert (segment.name, segment.version, segment.is_filled) == ("Old", 2, False)
    assert "A worker is looking for the members" in text_of(editor.get(address(f"segments/{segment.pk}/")))
    keep_up()
    assert "A worker is looking" not in text_of(editor.get(address(f"segments/{segment.pk}/")))


def test_edit__of_the_name_alone__needs_no_preview(people: World, enter: Enter) -> None:
    segment = make_segment(people.site, [PRO], name="Pros")
    form = {**FORM, "name": "Professionals", "0.0.texts": "pro", "do": "save"}

    assert enter("editor").post(address(f"segments/{segment.pk}/edit/"), form).status_code == 302
    segment.refresh_from_db()
    assert (segment.name, segment.version, segment.is_filled) == ("Professionals", 1, True)
    entry = AuditEntry.objects.get()
    assert (entry.before, entry.after) == ({"name": "Pros"}, {"name": "Professionals"})


def test_edit__of_a_segment_that_another_person_changed__says_so_and_keeps_what_was_typed(
    people: World, enter: Enter
) -> None:
    segment = make_segment(people.site, [PRO], name="Pros")
    editor, page = enter("editor"), address(f"segments/{segment.pk}/edit/")
    form = {**FORM, "name": "Mine", "0.0.texts": "pro", "do": "save"}
    mine = sent(form, text_of(editor.get(page)))
    assert enter("owner").post(page, {**form, "name": "Theirs"}).status_code == 302

    answer: Any = editor.post(page, mine)

    text = answer.getvalue().decode()
    assert answer.status_code == 409
    assert "Another person changed this segment after you opened it." in text
    assert 'name="name" value="Mine"' in text
    assert Segment.objects.get().name == "Theirs"
    assert editor.post(page, sent(form, text)).status_code == 302
    assert Segment.objects.get().name == "Mine"


def test_edit__to_what_another_person_saved_meanwhile__is_no_conflict(people: World, enter: Enter) -> None:
    segment = make_segment(people.site, [PRO], name="Pros")
    editor, page = enter("editor"), address(f"segments/{segment.pk}/edit/")
    form = {**FORM, "name": "Ours", "0.0.texts": "pro", "do": "save"}
    mine = sent(form, text_of(editor.get(page)))

    assert enter("owner").post(page, form).status_code == 302

    assert editor.post(page, mine).status_code == 302


def test_form__with_faults__names_each_and_keeps_what_was_typed(people: World, enter: Enter) -> None:
    form = {**FORM, "name": "", "description": "Of <b>all</b>", "0.0.test": "number.above", "0.0.number": "many"}

    response: Any = enter("editor").post(address("segments/new/"), {**form, "do": "save"})

    text = response.getvalue().decode()
    assert response.status_code == 400
    assert 'href="#0.0.number">Condition 1 of group 1 (trait): Enter a number, for example 30 or 9.5.' in text
    assert 'href="#name">Name: Enter a name.' in text
    assert 'value="many"' in text
    assert "Of &lt;b&gt;all&lt;/b&gt;" in text
    assert 'aria-invalid="true" aria-describedby="0.0.number.fault"' in text


def test_name__that_another_segment_has__is_a_fault(people: World, enter: Enter) -> None:
    make_segment(people.site, [PRO], name="Pros")
    editor = enter("editor")
    form = {**FORM, "0.0.texts": "pro", "do": "save"}

    response: Any = editor.post(
        address("segments/new/"), sent(form, text_of(editor.post(address("segments/new/"), form)))
    )

    assert response.status_code == 400
    assert "Another segment of the site has this name." in response.getvalue().decode()


def test_buttons__of_the_builder__change_the_form_only(people: World, enter: Enter) -> None:
    editor = enter("editor")
    form = {**FORM, "0.0.texts": "pro"}

    more: Any = editor.post(address("segments/new/"), {**form, "do": "add:0"})
    assert [each.at for each in more.context["draft"].drafts] == ["0.0", "0.1"]
    assert ">pro</textarea>" in text_of(more)
    picked: Any = editor.post(address("segments/new/"), {**FORM, "0.0.path": "age", "0.0.test": "any", "do": "refresh"})
    assert picked.context["draft"].drafts[0].fields["test"] == "number.at_least"
    assert not Segment.objects.exists()


def test_pickers__offer_what_the_site_knows(people: World, enter: Enter) -> None:
    people.send(people.event(event="Audience Entered", userId="ada", properties={"audience_key": "vip", "vip": True}))
    people.send(people.event("group", userId="ada", groupId="acme", traits={"size": 5}))
    people.send(people.event(event="Buy", userId="ada"))
    other = make_segment(people.site, [PRO], name="Others")
    CustomData.objects.create(site=people.site, index=1, name="basket")
    editor = enter("editor")
    for kind, offered in (
        ("trait", '<option value="age">number</option>'),
        ("persona", '<option value="vip">'),
        ("group", ">acme</button>"),
        ("groupTrait", '<option value="size">number</option>'),
        ("customData", '<option value="1">1: basket</option>'),
        ("goal", '<option value="SegmentIO track – Buy" label="track Buy">'),
        ("source", f'<option value="{people.site.sources.earliest("pk").pk}">'),
        ("segment", f'<option value="{other.pk}">Others</option>'),
    ):
        form = {"at": "0.0", "0.0.on": kind, "do": "refresh"}
        assert offered in text_of(editor.post(address("segments/new/"), form)), kind


def test_goal__by_name_or_id__is_the_same_condition(people: World, enter: Enter) -> None:
    people.send(people.event(event="Buy", userId="ada"))
    editor = enter("editor")
    for typed in ("SegmentIO track – Buy", str(Goal.objects.get().pk)):
        form = {"name": "Buyers", "at": "0.0", "0.0.on": "goal", "0.0.goal": typed, "do": "preview"}
        page = text_of(editor.post(address("segments/new/"), form))
        assert "Converted the goal “track Buy”" in page
        assert "<b>1</b><span>member among" in page


def test_preview__of_a_large_site__says_how_many_were_looked_at(
    people: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cohorts.segments.saving.MOST_PREVIEWED", 1)
    form = {**FORM, "0.0.texts": "pro", "do": "preview"}

    text = text_of(enter("editor").post(address("segments/new/"), form))

    assert "The preview covers the first 1 person only." in text


def test_preview__of_a_trait_just_typed__is_of_the_test_that_is_shown(people: World, enter: Enter) -> None:
    editor = enter("editor")
    form = {"name": "Known", "at": "0.0", "0.0.on": "trait", "0.0.path": "plan", "0.0.test": "any", "do": "preview"}

    page = text_of(editor.post(address("segments/new/"), form))
    assert '<option value="any" selected>' in page
    refreshed = text_of(editor.post(address("segments/new/"), {**form, "0.0.typed": "plan", "do": "refresh"}))
    assert '<option value="any" selected>' in refreshed  # it was previewed, so it was chosen
    editor.post(address("segments/new/"), sent({**form, "do": "save"}, page))

    assert Segment.objects.get().conditions == [[{"on": "trait", "path": ["plan"], "test": {"type": "any"}}]]
    refreshed = text_of(editor.post(address("segments/new/"), {**form, "do": "refresh"}))
    assert '<option value="text.equals" selected>' in refreshed


def test_removal__of_a_segment_in_use__names_all_that_uses_it__and_does_not_ask(people: World, enter: Enter) -> None:
    segment = make_segment(people.site, [PRO], name="Pros")
    make_segment(people.site, [{"on": "segment", "segment": segment.pk}], name="Also pros")
    CustomData.objects.create(
        site=people.site, index=3, name="Pro", filled_from=CustomData.Filling.SEGMENT, filling=str(segment.pk)
    )
    FeatureFlag.objects.create(site=people.site, key="checkout", document={"rules": [{"segmentId": segment.pk}]})
    editor, page = enter("editor"), address(f"segments/{segment.pk}/remove/")
    uses = "segment “Also pros”, flag “checkout”, custom data 3"

    for form in ({}, {"confirmed": "yes"}):
        refused = text_of(editor.post(page, form, follow=True))
        assert f"Not deleted. These use the segment: {uses}. Change them first." in refused
    assert Segment.objects.filter(pk=segment.pk).exists()


def test_removal__asks__and_names_what_needs_the_segment(people: World, enter: Enter) -> None:
    segment = make_segment(people.site, [PRO], name="Pros")
    other = make_segment(people.site, [{"on": "segment", "segment": segment.pk}], name="Also pros")
    editor, page = enter("editor"), address(f"segments/{segment.pk}/remove/")

    refused = editor.post(page, {"confirmed": "yes"}, follow=True)
    assert "segment “Also pros”" in text_of(refused)
    assert editor.post(address(f"segments/{other.pk}/remove/"), {"confirmed": "yes"}).status_code == 302
    asked = text_of(editor.post(page))
    assert "1 person is in it." in asked
    assert "This can't be undone." in asked.replace("&#x27;", "'")
    assert editor.post(page, {"confirmed": "yes"}).status_code == 302

    assert not Segment.objects.exists()
    assert [entry.what for entry in AuditEntry.objects.order_by("pk")] == [
        f"Deleted the segment {other.pk}",
        f"Deleted the segment {segment.pk}",
    ]


def test_person__shows_each_segment__and_by_which_conditions(people: World, enter: Enter) -> None:
    people.send(people.event(event="Buy", userId="ada", timestamp=datetime.now(UTC).isoformat()))
    make_segment(people.site, [PRO, VIP], name="Pros")
    recent = {"on": "seen", "which": "last", "test": {"type": "date", "how": "within", "days": 1}}
    make_segment(people.site, [recent], name="Recent")
    make_segment(people.site, [VIP], name="VIPs")
    viewer = enter("viewer")

    assert "people/person/segments/?id=ada" in text_of(viewer.get(address("people/person/?id=ada")))
    page: Any = viewer.get(address("people/person/segments/?id=ada"))
    assert [(reason.segment.name, reason.is_member) for reason, _ in page.context["rows"]] == [
        ("Pros", True),
        ("Recent", True),
        ("VIPs", False),
    ]
    assert page.context["rows"][1][0].until is not None
    text = text_of(page)
    assert "Trait plan is “pro”" in text
    assert "Leaves by time alone at" in text
    assert viewer.get(address("people/person/segments/?id=unknown")).status_code == 404

"""Builder of segments: the form of a new one or of an edit, and its preview."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

from api.insight import segments
from api.models import Role, Site
from api.pages.access import get_in_site, show, site_page
from api.pages.people.segment_drafts import KINDS, SegmentDraft, draft_of, new_draft, press, read_draft, suggest_tests
from api.pages.people.segment_form import read_segment
from api.pages.people.segment_pickers import find_goals, load_names, load_pickers
from api.remote_data import segment_changes
from api.remote_data.segment_changes import state_of
from cohorts.changes import IdentityKey
from cohorts.segment_tables import DESCRIPTION_LENGTH, NAME_LENGTH, Segment
from cohorts.segments.conditions import Conditions, read_conditions, write_conditions
from cohorts.segments.evaluation import Judgement
from cohorts.segments.saving import Preview, SegmentError, SegmentNameTakenError
from cohorts.segments.sentences import ReferenceNames, describe


@dataclass(frozen=True, slots=True)
class Sample:
    """Some people of a preview, each with the conditions that hold, or of those that leave, that do not."""

    title: str
    people: Sequence[tuple[IdentityKey, Sequence[str]]]


@site_page(Role.EDITOR)
def edit_segment(request: HttpRequest, site: Site, segment_id: int | None = None) -> HttpResponseBase:
    """Show and save the form of a segment. Conditions are saved only after their own preview was shown."""
    segment = get_in_site(Segment, site, segment_id) if segment_id is not None else None
    stored = read_conditions(segment.conditions) if segment is not None else None
    if request.method != "POST":
        draft = SegmentDraft(groups=[[new_draft(0, 0)]])
        if segment is not None and stored is not None:
            names = load_names(site.pk, [stored])
            draft = SegmentDraft(segment.name, segment.description, draft_of(stored, names))
        return show_form(request, site, segment, draft, may_save=segment is not None)
    draft, do, previewed = read_draft(request.POST), request.POST.get("do", ""), request.POST.get("previewed", "")
    if do not in {"save", "preview"}:
        press(draft, do)
        return show_form(request, site, segment, draft, suggests=True)
    conditions = read_all(site, draft, segment)
    if draft.has_faults:
        return show_form(request, site, segment, draft, status=400 if do == "save" else 200)
    seen = previewed == fingerprint(conditions) or conditions == stored
    if do == "save" and seen:
        saved = save(request, site, segment, draft, conditions)
        if saved is not None:
            return redirect("pages:segment", site.sitecode, saved.pk)
        status = 409 if draft.is_outdated else 400
        return show_form(request, site, segment, draft, may_save=True, previewed=previewed, status=status)
    preview = segments.preview(site, conditions, segment=segment, now=timezone.now())
    return show_form(
        request,
        site,
        segment,
        draft,
        may_save=True,
        previewed=fingerprint(conditions),
        preview=preview,
        samples=describe_samples(
            preview,
            conditions,
            load_names(site.pk, [conditions], template=site.goal_name_template),
            is_new=segment is None,
        ),
        is_stale=do == "save" and bool(previewed),
    )


def read_all(site: Site, draft: SegmentDraft, segment: Segment | None) -> Conditions:
    """Return the conditions of a draft, and note its faults in it."""
    if not draft.name:
        draft.name_fault = "Enter a name."
    elif len(draft.name) > NAME_LENGTH:
        draft.name_fault = f"A name has at most {NAME_LENGTH} characters."
    if len(draft.description) > DESCRIPTION_LENGTH:
        draft.description_fault = f"A description has at most {DESCRIPTION_LENGTH:,} characters."
    goals = find_goals(site.pk, (each.fields["goal"].strip() for each in draft.drafts if each.kind == "goal"))
    known = segment_changes.load_references(site.pk)
    return read_segment(draft, known, goals, segment_id=None if segment is None else segment.pk)


def save(
    request: HttpRequest, site: Site, segment: Segment | None, draft: SegmentDraft, conditions: Conditions
) -> Segment | None:
    """Save a draft and return its segment, None with a fault noted in the draft."""
    given = {"name": draft.name, "description": draft.description, "conditions": write_conditions(conditions)}
    actor, now = request.user, timezone.now()
    try:
        if segment is None:
            saved = segment_changes.create_segment(site, **given, actor=actor, now=now)
            messages.success(request, f"Segment “{saved.name}” created. A worker is looking for its members.")
        else:
            before = segment.version
            seen = request.POST.get("seen")
            saved = segment_changes.change_segment(segment, given, actor=actor, now=now, seen=seen)
            renewed = " A worker is looking for its members." if saved.version != before else ""
            messages.success(request, f"Segment “{saved.name}” saved.{renewed}")
    except segment_changes.ChangedMeanwhileError:
        draft.is_outdated = True
    except SegmentNameTakenError as error:
        draft.name_fault = str(error)
    except (SegmentError, segment_changes.WrongConditionsError) as error:  # another request removed what it names
        draft.faults.append(str(error))
    else:
        return saved
    return None


def show_form(
    request: HttpRequest,
    site: Site,
    segment: Segment | None,
    draft: SegmentDraft,
    *,
    status: int = 200,
    may_save: bool = False,
    suggests: bool = False,
    **context: Any,
) -> HttpResponseBase:
    pickers = load_pickers(site, draft, segment=segment)
    seen = state_of(segment) if segment is not None else ""
    if request.method == "POST" and not draft.is_outdated:  # otherwise this page says so, and the next one may save
        seen = request.POST.get("seen", seen)
    # A preview shows the form as it was read: another test would not be the one that was previewed.
    suggest_tests(draft, {"trait": pickers.traits, "groupTrait": pickers.group_traits} if suggests else {})
    return show(
        request,
        "pages/segments/edit.html",
        title=f"Edit the segment {segment.name}" if segment else "New segment",
        segment=segment,
        draft=draft,
        pickers=pickers,
        kinds=list(KINDS.items()),
        may_save=may_save,
        seen=seen,
        status=status,
        **context,
    )


def describe_samples(preview: Preview, conditions: Conditions, names: ReferenceNames, *, is_new: bool) -> list[Sample]:
    """Return the people of a preview with the reasons: of each group the conditions that hold, or all that do not."""
    samples = [("Members", preview.sample)]
    if not is_new:
        samples = [("Would enter", preview.entering_sample), ("Would leave", preview.leaving_sample), *samples]
    return [
        Sample(title, [(key, explain(preview.judgements[key], conditions, names)) for key in keys])
        for title, keys in samples
        if keys
    ]


def explain(judgement: Judgement, conditions: Conditions, names: ReferenceNames) -> list[str]:
    """Return the conditions that make a person a member, or those groups of which none holds."""
    reasons = list[str]()
    for group, signals in zip(conditions, judgement.conditions, strict=True):
        holding = [each for each, signal in zip(group, signals, strict=True) if signal.holds]
        if judgement.is_member:
            reasons += [describe(each, names) for each in holding]
        elif not holding:
            reasons.append("not: " + " or ".join(describe(each, names) for each in group))
    return reasons


def fingerprint(conditions: Conditions) -> str:
    """Return a text that differs for other conditions."""
    return hashlib.sha256(msgspec.json.encode(conditions)).hexdigest()[:16]

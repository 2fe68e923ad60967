"""Annotations of a goal's charts: written, changed and deleted by editors."""

from datetime import datetime
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.insight import annotations
from api.models import Annotation, Role, Site
from api.models.annotations import ANNOTATION_LENGTH
from api.pages.access import get_in_site, show, site_page
from api.pages.goals.detail import find_goal
from api.pages.query_form import TimeField
from api.pages.undo import CannotUndoError, say_with_kept
from goals.models import Goal
from goals.reports.figures import load_member_ids

KIND: Final = "annotation"  # of what Undo gives back


class AnnotationForm(forms.Form):
    """A time in the zone of the page, a text, and whether the charts of all goals show it."""

    at = TimeField(label="Time")
    text = forms.CharField(max_length=ANNOTATION_LENGTH)
    is_of_site = forms.BooleanField(label="In the charts of all goals", required=False)

    def clean_at(self) -> Any:
        at = self.cleaned_data["at"]
        if trouble := annotations.explain_time(at, now=timezone.now()):
            raise forms.ValidationError(trouble)
        return at


@site_page(Role.EDITOR)
def edit_annotation(
    request: HttpRequest, site: Site, goal_id: int, annotation_id: int | None = None
) -> HttpResponseBase:
    """Show and save the form of an annotation, or of a new one for now."""
    goal = find_goal(site, goal_id)
    is_new = annotation_id is None
    annotation = Annotation(site=site, goal=goal) if is_new else find_annotation(site, goal, annotation_id)
    before = None if is_new else annotations.read_values(annotation)
    shown = {
        "at": timezone.localtime(timezone.now() if is_new else annotation.at),
        "text": annotation.text,
        "is_of_site": annotation.goal_id is None,
    }
    form = AnnotationForm(request.POST if request.method == "POST" else None, initial=shown)
    if form.is_valid():
        sent = form.cleaned_data
        if before is None or sent["at"] != annotation.at.replace(second=0, microsecond=0):
            annotation.at = sent["at"]  # the form has no seconds: an untouched time stays
        annotation.text, annotation.goal = sent["text"], None if sent["is_of_site"] else annotation.goal or goal
        try:
            if before is None:
                annotations.create_annotation(annotation, by=request.user)
            else:
                annotations.change_annotation(annotation, before=before, by=request.user)
        except annotations.TooManyAnnotationsError:
            form.add_error(None, annotations.TOO_MANY)
        except Annotation.DoesNotExist as error:
            raise Http404 from error
        else:
            messages.success(request, "Annotation saved.")
            return redirect("pages:goal", site.sitecode, goal.pk)
    return show(
        request,
        "pages/goals/annotation.html",
        title="New annotation" if is_new else "Edit annotation",
        goal=goal,
        annotation=None if is_new else annotation,
        form=form,
    )


@site_page(Role.EDITOR)
@require_POST
def delete_annotation(request: HttpRequest, site: Site, goal_id: int, annotation_id: int) -> HttpResponseBase:
    goal = find_goal(site, goal_id)
    annotation = find_annotation(site, goal, annotation_id)
    kept = {**annotations.read_values(annotation), "id": annotation.pk, "who": annotation.who, "page": goal.pk}
    annotations.delete_annotation(annotation, by=request.user)
    say_with_kept(request, site, f"Annotation “{annotation}” deleted.", KIND, kept)
    return redirect("pages:goal", site.sitecode, goal.pk)


def undo_deletion(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Create a deleted annotation again. Raises CannotUndoError."""
    goal = Goal.objects.filter(site=site, pk=values["goal"], deleted_at=None).first()
    if values["goal"] is not None and goal is None:
        raise CannotUndoError("Its goal was deleted.")
    fields = {name: values[name] for name in ("id", "text", "who")}
    annotation = Annotation(site=site, goal=goal, at=datetime.fromisoformat(values["at"]), **fields)
    try:
        annotations.create_annotation(annotation, by=request.user)
    except annotations.TooManyAnnotationsError as error:
        raise CannotUndoError(annotations.TOO_MANY) from error
    messages.success(request, f"Annotation “{annotation}” restored.")
    return redirect("pages:goal", site.sitecode, values["page"])


def find_annotation(site: Site, goal: Goal, annotation_id: int | None) -> Annotation:
    """Return an annotation of a goal, of one merged into it, or of all goals. Raises Http404. Two queries at most."""
    of_goal = Q(goal=None) | Q(goal__in=load_member_ids(site.pk, [goal])[goal.pk])
    return get_in_site(Annotation.objects.filter(of_goal), site, annotation_id)

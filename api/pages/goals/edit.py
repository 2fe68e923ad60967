"""What people change about a goal: make, edit, archive, delete, free its events, group names that hold identifiers."""

from copy import copy
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api import audit
from api.http.wording import count_of
from api.models import Role, Site
from api.pages.access import show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.fields import LinesField
from api.pages.goals.detail import find_goal
from api.pages.goals.goal_list import TAG_LENGTH
from goals import catalogue, reports
from goals.matching import EventName
from goals.models import GOAL_NAME_LENGTH, Conversion, Goal, GoalBinding
from goals.naming import name_goal

MOST_COUNTED: Final = 10_000  # conversions of a day
COUNTING: Final = (("False", "one a visit (conversions less than 30 minutes apart)"), ("True", "every conversion"))
AUDITED: Final = (*catalogue.EDITABLE_FIELDS, "tags")


class GoalForm(forms.Form):
    # strip=False: names match exactly, and one that begins with a space is not to be renamed by being looked at.
    name = forms.CharField(max_length=GOAL_NAME_LENGTH, strip=False)
    keeps_receiving = forms.BooleanField(label="Keep receiving these events", required=False)
    tags = LinesField(line_length=TAG_LENGTH, required=False)
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    has_multiple_conversions = forms.TypedChoiceField(
        label="What counts", choices=COUNTING, coerce=lambda value: value == "True", initial="False"
    )
    type = forms.ChoiceField(choices=Goal.Type.choices, initial=Goal.Type.CUSTOM)

    def __init__(self, sent: Any = None, *, goal: Goal | None = None) -> None:
        self.goal = goal
        values = values_of(goal) if goal else {}
        if goal:
            values["has_multiple_conversions"] = str(goal.has_multiple_conversions)
        super().__init__(sent, initial=values)
        self.fields["tags"].widget = forms.Textarea(attrs={"rows": 3})
        if goal is None:
            del self.fields["keeps_receiving"]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        # A text field in a browser loses line ends: a name that nobody touched stays as it was.
        return self.goal.name if self.goal and name == self.goal.name.replace("\r", "").replace("\n", "") else name


def convention_of(site: Site) -> str:
    """What the goal of a track event is called on a site."""
    return name_goal("track", "…", template=site.goal_name_template)


def values_of(goal: Goal) -> dict[str, Any]:
    """What a person may change of a goal."""
    fields = {name: getattr(goal, name) for name in catalogue.EDITABLE_FIELDS}
    return {**fields, "tags": [tag.name for tag in goal.tags.all()]}


@site_page(Role.EDITOR)
def make_goal(request: HttpRequest, site: Site) -> HttpResponseBase:
    """A new goal by hand; it uses up no quota (promises K-32)."""
    form = GoalForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        fields = dict(form.cleaned_data)
        tags = fields.pop("tags")
        goal = Goal(site=site, origin=Goal.Origin.PERSON, **fields)
        try:
            with transaction.atomic():
                catalogue.create_goal(goal, tags=tags, template=site.goal_name_template)
                audit.note(request, site, f"Created the goal {goal.pk}", None, {**fields, "tags": tags})
        except catalogue.NameTakenError as taken:
            form.add_error("name", _taken(taken))
        else:
            messages.success(request, f"The goal {goal.name} is made.")
            return redirect("pages:goal", site.sitecode, goal.pk)
    return show(request, "pages/goals/new.html", title="New goal", form=form, convention=convention_of(site))


@site_page(Role.EDITOR)
def edit_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Edit a goal, told what a new name means (promises K-15 to K-17)."""
    goal = find_goal(site, goal_id)
    before = copy(goal)
    form = GoalForm(request.POST if request.method == "POST" else None, goal=goal)
    if form.is_valid() and save(request, site, goal, form):
        messages.success(request, "Saved.")
        return redirect("pages:goal", site.sitecode, goal.pk)
    events = catalogue.list_events_leading_to(before, template=site.goal_name_template)
    return show(
        request,
        "pages/goals/edit.html",
        title="Edit goal",
        form=form,
        goal=goal,
        name_now=before.name,
        events=events,
        next_goals=[name_goal(event.type, event.name, template=site.goal_name_template) for event in events],
        conversions=reports.summarise_goals([goal], now=timezone.now())[goal.pk].ever.conversions,
        convention=convention_of(site),
    )


def save(request: HttpRequest, site: Site, goal: Goal, form: GoalForm) -> bool:
    """Save what a form changed; whether it could, else the form says why. Raises Http404 for a goal just deleted."""
    before, sent = values_of(goal), form.cleaned_data
    changed = [name for name in AUDITED if sent[name] != before[name]]
    for name in set(changed) & set(catalogue.EDITABLE_FIELDS):
        setattr(goal, name, sent[name])
    try:
        with transaction.atomic():
            catalogue.change_goal(
                goal,
                fields=set(changed) - {"tags"},
                tags=sent["tags"] if "tags" in changed else None,
                keeps_receiving=sent["keeps_receiving"] and "name" in changed,
                template=site.goal_name_template,
            )
            if changed:
                audit.note(
                    request, site, f"Changed the goal {goal.pk}", *audit.changed(before, {n: sent[n] for n in AUDITED})
                )
    except catalogue.NameTakenError as taken:
        form.add_error("name", _taken(taken))
        return False
    except Goal.DoesNotExist as error:
        raise Http404 from error
    return True


def _taken(taken: catalogue.NameTakenError) -> str:
    return f"Goal {taken.goal_id} of this site has this name. Take another one, or rename or delete that goal."


@site_page(Role.EDITOR)
@require_POST
def archive_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Put a goal aside; it still converts (promises K-19)."""
    goal = find_goal(site, goal_id)
    with transaction.atomic():
        catalogue.archive_goal(goal, now=timezone.now())
        audit.note(request, site, f"Archived the goal {goal.pk}", {"status": "active"}, {"status": "archived"})
    messages.success(request, "Archived. It still converts, and can be restored at any time.")
    return redirect("pages:goal", site.sitecode, goal.pk)


@site_page(Role.EDITOR)
@require_POST
def restore_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Take a goal back from the archive."""
    goal = find_goal(site, goal_id)
    with transaction.atomic():
        catalogue.restore_goal(goal)
        audit.note(request, site, f"Restored the goal {goal.pk}", {"status": "archived"}, {"status": "active"})
    messages.success(request, "Restored.")
    return redirect("pages:goal", site.sitecode, goal.pk)


@site_page(Role.EDITOR)
def delete_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Say what deleting loses and offer the archive instead; when that is confirmed, delete (promises K-18)."""
    goal = find_goal(site, goal_id)
    if request.method == "POST":
        with transaction.atomic():
            before = values_of(goal)
            catalogue.delete_goal(goal, now=timezone.now())
            audit.note(request, site, f"Deleted the goal {goal.pk}", before, None)
        messages.success(request, f"The goal {goal.name} is deleted.")
        return redirect("pages:goals", site.sitecode)
    events = catalogue.list_events_leading_to(goal, template=site.goal_name_template)
    return show(
        request,
        "pages/goals/delete.html",
        title="Delete goal",
        goal=goal,
        ever=reports.summarise_goals([goal], now=timezone.now())[goal.pk].ever,
        events=[*events, *(EventName(each.event_type, each.event_name) for each in goal.bindings.all())],
    )


@site_page(Role.EDITOR)
@require_POST
def unbind_event(request: HttpRequest, site: Site, goal_id: int, binding_id: int) -> HttpResponseBase:
    """Let an event that was kept for a goal find its goal by name again."""
    binding = get_object_or_404(GoalBinding, pk=binding_id, goal_id=goal_id, site=site)
    if not is_confirmed(request):
        return ask_unbind(request, site, binding)
    with transaction.atomic():
        catalogue.unbind_event(binding)
        kept = {"type": binding.event_type, "name": binding.event_name}
        audit.note(request, site, f"Let go of an event of the goal {goal_id}", kept, None)
    messages.success(request, f"{binding.event_name} finds its goal by name from now on.")
    return redirect("pages:goal", site.sitecode, goal_id)


def ask_unbind(request: HttpRequest, site: Site, binding: GoalBinding) -> HttpResponseBase:
    """Return the page that says how much a goal gets by its events now. One query."""
    day = timezone.now() - timedelta(hours=24)
    count = Conversion.objects.filter(goal=binding.goal, occurred_at__gt=day)[: MOST_COUNTED + 1].count()
    told = f"more than {MOST_COUNTED:,} conversions" if count > MOST_COUNTED else count_of(count, "conversion")
    return ask(
        request,
        title=f"Let go of “{binding.event_name}”",
        facts=[
            f"“{binding.goal.name}” has {told} of the last 24 hours, by all its events.",
            (
                f"From then on the {binding.event_type} event “{binding.event_name}” converts the goal whose name it "
                "has, or makes a new goal."
            ),
        ],
        warning="Conversions so far stay with this goal.",
        action="Let go of the event",
        back=reverse("pages:goal", args=[site.sitecode, binding.goal_id]),
    )

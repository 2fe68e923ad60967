"""Changes of one goal: create, edit, archive, restore, delete, unlink its events."""

from contextlib import AbstractContextManager, nullcontext
from copy import copy
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.digest import segments
from api.http.wording import count_of
from api.insight.moved_events import MovedEvents, MovesEventsError, note_moved_events
from api.models import Role, Site
from api.models.audit import audit_values, write_audit
from api.pages.access import get_in_site, page_of, show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.fields import LinesField
from api.pages.goals.detail import find_goal
from api.pages.goals.goal_list import TAG_LENGTH
from api.pages.undo import CannotUndoError, say_with_kept, say_with_undo
from goals import catalogue
from goals.matching import EventName
from goals.models import DISPLAY_NAME_LENGTH, GOAL_NAME_LENGTH, Conversion, Goal, GoalBinding
from goals.naming import name_goal
from goals.queries import find_live_goal
from goals.recording import find_goals_of_events
from goals.reports.summaries import summarise_goals
from goals.shown_names import show_goal_name

MOST_COUNTED: Final = 10_000  # conversions of a day
COUNTING: Final = (("False", "once per visit (30-minute gap)"), ("True", "every time"))
KIND: Final = "goal"  # of what Undo gives back
KIND_OF_LINK: Final = "link"
AUDITED: Final = (*catalogue.EDITABLE_FIELDS, "tags")


class GoalForm(forms.Form):
    """The fields of a goal that people edit."""

    # strip=False: names match exactly, so saving must not rename a goal that begins with a space.
    name = forms.CharField(max_length=GOAL_NAME_LENGTH, strip=False)
    display_name = forms.CharField(max_length=DISPLAY_NAME_LENGTH, required=False)
    keeps_receiving = forms.BooleanField(label="Keep receiving these events", required=False)
    tags = LinesField(line_length=TAG_LENGTH, required=False)
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    has_multiple_conversions = forms.TypedChoiceField(
        label="Count", choices=COUNTING, coerce=lambda value: value == "True", initial="False"
    )
    type = forms.ChoiceField(choices=Goal.Type.choices, initial=Goal.Type.CUSTOM)

    def __init__(self, sent: Any = None, *, goal: Goal | None = None) -> None:
        self.goal = goal
        values = read_values(goal) if goal else {}
        if goal:
            values["has_multiple_conversions"] = str(goal.has_multiple_conversions)
        super().__init__(sent, initial=values)
        self.fields["tags"].widget = forms.Textarea(attrs={"rows": 3})
        if goal is None:
            del self.fields["keeps_receiving"]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        # A text field in a browser loses line ends: an untouched name stays as it was.
        return self.goal.name if self.goal and name == self.goal.name.replace("\r", "").replace("\n", "") else name


def name_convention(site: Site) -> str:
    """Return the name of a track event's goal on a site, with `…` in place of the event's name."""
    return name_goal("track", "…", template=site.goal_name_template)


def read_values(goal: Goal) -> dict[str, Any]:
    """Return the editable fields of a goal with its tags."""
    fields = {name: getattr(goal, name) for name in catalogue.EDITABLE_FIELDS}
    return {**fields, "tags": [tag.name for tag in goal.tags.all()]}


@site_page(Role.EDITOR)
def create_goal(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Create a goal, without using the new-goal limit (promise K-32)."""
    form = GoalForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        fields = dict(form.cleaned_data)
        tags = fields.pop("tags")
        goal = Goal(site=site, origin=Goal.Origin.PERSON, **fields)
        try:
            with transaction.atomic(), note_moves(request, goal):
                catalogue.create_goal(goal, tags=tags, template=site.goal_name_template)
                write_audit(request.user, site, f"Created the goal {goal.pk}", None, {**fields, "tags": tags})
        except catalogue.NameTakenError as taken:
            form.add_error("name", _describe_taken(taken))
        except MovesEventsError as error:
            return ask_to_move(request, site, goal.name, error.moved, action="Create goal", back=request.path)
        else:
            messages.success(request, f"Goal {show_goal_name(goal, template=site.goal_name_template)} created.")
            return redirect("pages:goal", site.sitecode, goal.pk)
    return show(request, "pages/goals/new.html", title="New goal", form=form, convention=name_convention(site))


@site_page(Role.EDITOR)
def edit_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Edit a goal, with a warning about a new name (promises K-15 to K-17)."""
    goal = find_goal(site, goal_id)
    before = copy(goal)
    form = GoalForm(request.POST if request.method == "POST" else None, goal=goal)
    try:
        if form.is_valid() and save(request, site, goal, form):
            return redirect("pages:goal", site.sitecode, goal.pk)
    except MovesEventsError as error:
        return ask_to_move(request, site, goal.name, error.moved, action="Save", back=request.path)
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
        conversions=summarise_goals(goal.site_id, [goal], now=timezone.now())[goal.pk].ever.conversions,
        convention=name_convention(site),
    )


def save(request: HttpRequest, site: Site, goal: Goal, form: GoalForm) -> bool:
    """Save what a form changed. Return False with an error in the form if the name is taken.

    Raises Http404 if the goal was deleted meanwhile, and MovesEventsError before the new name takes events of others.
    """
    before, sent, was_named_by_event = read_values(goal), form.cleaned_data, goal.is_named_by_event
    bound = set(goal.bindings.values_list("pk", flat=True))
    changed = [name for name in AUDITED if sent[name] != before[name]]
    for name in set(changed) & set(catalogue.EDITABLE_FIELDS):
        setattr(goal, name, sent[name])
    try:
        with transaction.atomic(), note_moves(request, goal) if "name" in changed else nullcontext():
            catalogue.change_goal(
                goal,
                fields=set(changed) - {"tags"},
                tags=sent["tags"] if "tags" in changed else None,
                keeps_receiving=sent["keeps_receiving"] and "name" in changed,
                template=site.goal_name_template,
            )
            if changed:
                write_audit(
                    request.user,
                    site,
                    f"Changed the goal {goal.pk}",
                    *audit_values(before, {n: sent[n] for n in AUDITED}),
                )
    except catalogue.NameTakenError as taken:
        form.add_error("name", _describe_taken(taken))
        return False
    except Goal.DoesNotExist as error:
        raise Http404 from error
    if changed:
        values = {
            "fields": {name: before[name] for name in changed},
            "after": {name: sent[name] for name in changed},
            "is_named_by_event": was_named_by_event,
        }
        made = set(goal.bindings.values_list("pk", flat=True)) - bound
        say_with_kept(request, site, "Saved.", KIND, {**values, "goal": goal.pk, "bindings": sorted(made)})
    else:
        messages.success(request, "Saved.")
    return True


def note_moves(request: HttpRequest, goal: Goal) -> AbstractContextManager[None]:
    """Log the events that a goal takes from others, once the person has agreed. Otherwise raises MovesEventsError."""
    return note_moved_events(
        goal, template=goal.site.goal_name_template, by=request.user, may_move=is_confirmed(request)
    )


def ask_to_move(
    request: HttpRequest, site: Site, name: str, moved: list[MovedEvents], *, action: str, back: str
) -> HttpResponseBase:
    """Ask whether the events of other goals shall count for the goal of this name. Some three queries."""
    goals = Goal.objects.filter(site=site).in_bulk([each.goal_id for each in moved])
    heads = summarise_goals(site.pk, list(goals.values()), now=timezone.now())
    facts = []
    for each in moved:
        types = ", ".join(sorted(event.type for event in each.events)).capitalize()
        shown = show_goal_name(goals[each.goal_id], template=site.goal_name_template)
        count = count_of(heads[each.goal_id].last_30_days.conversions, "conversion")
        facts.append(f"{types} events “{each.events[0].name}” count for {shown} now: {count} in 30 days.")
    return ask(
        request,
        title="These events count for another goal",
        facts=facts,
        warning=f"From now on they would count for “{name}” alone. What has been counted stays where it is.",
        action=action,
        back=back,
    )


def undo_edit(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Give the fields of a goal the values that they had before an edit, and remove the links that it made.

    Raises CannotUndoError if another goal has the name or its events now, and if these fields were changed or the goal
    was deleted.
    """
    goal, fields = find_live_goal(site.pk, values["goal"]), values["fields"]
    if goal is None:
        raise CannotUndoError("The goal was deleted.")
    now = read_values(goal)
    if any(_as_kept(now[name]) != _as_kept(value) for name, value in values["after"].items()):
        raise CannotUndoError("The goal was changed again meanwhile.")
    for name in set(fields) & set(catalogue.EDITABLE_FIELDS):
        setattr(goal, name, fields[name])
    taking = note_moved_events(goal, template=site.goal_name_template, by=request.user, may_move=False)
    try:
        with transaction.atomic(), taking if "name" in fields else nullcontext():
            catalogue.change_goal(
                goal, fields=set(fields) - {"tags"}, tags=fields.get("tags"), template=site.goal_name_template
            )
            if "name" in fields and values["is_named_by_event"]:
                Goal.objects.filter(site=site, pk=goal.pk).update(is_named_by_event=True)
            for binding in GoalBinding.objects.filter(site=site, goal=goal, pk__in=values["bindings"]):
                catalogue.unbind_event(binding)
            write_audit(request.user, site, f"Changed the goal {goal.pk}", *audit_values(now, fields))
    except catalogue.NameTakenError as taken:
        raise CannotUndoError(_describe_taken(taken)) from taken
    except MovesEventsError as error:
        others = ", ".join(f"goal {each.goal_id}" for each in error.moved)
        raise CannotUndoError(f"Events of the old name count for {others} now. Edit the goal to move them.") from error
    except Goal.DoesNotExist as error:
        raise CannotUndoError("The goal was deleted.") from error
    messages.success(request, "Edit undone.")
    return redirect("pages:goal", site.sitecode, goal.pk)


@site_page(Role.EDITOR)
@require_POST
def set_display_name(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Set the name that pages show for a goal. No event is matched by it."""
    goal = find_goal(site, goal_id)
    name, before = request.POST.get("display_name", "").strip(), goal.display_name
    if request.POST.get("was", before) != before:  # Undo
        messages.error(request, "Nothing was undone. The display name was changed again meanwhile.")
    elif len(name) > DISPLAY_NAME_LENGTH:
        messages.error(request, f"A display name has {DISPLAY_NAME_LENGTH} characters at most.")
    elif name != before:
        goal.display_name = name
        with transaction.atomic():
            catalogue.change_goal(goal, fields=["display_name"], template=site.goal_name_template)
            write_audit(
                request.user, site, f"Changed the goal {goal.pk}", {"display_name": before}, {"display_name": name}
            )
        say_with_undo(
            request,
            "Display name saved. It changes no count." if name else "Display name removed.",
            page_of(site, "goal-display-name", goal.pk),
            [("display_name", before), ("was", name)],
        )
    return redirect("pages:goal", site.sitecode, goal.pk)


def _as_kept(value: Any) -> Any:
    """Return a value so that those of a form, a session and a goal compare. Pure."""
    return sorted(value) if isinstance(value, list | tuple | set) else value


def _describe_taken(taken: catalogue.NameTakenError) -> str:
    return f"Goal {taken.goal_id} of this site has this name. Choose another one, or rename or delete that goal."


@site_page(Role.EDITOR)
@require_POST
def archive_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Archive a goal; it still counts conversions (promise K-19)."""
    goal = find_goal(site, goal_id)
    with transaction.atomic():
        catalogue.archive_goal(goal, now=timezone.now())
        write_audit(request.user, site, f"Archived the goal {goal.pk}", {"status": "active"}, {"status": "archived"})
    text = "Archived. It still counts conversions and can be restored at any time."
    say_with_undo(request, text, page_of(site, "goal-restore", goal.pk))
    return redirect("pages:goal", site.sitecode, goal.pk)


@site_page(Role.EDITOR)
@require_POST
def restore_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Restore a goal from the archive."""
    goal = find_goal(site, goal_id)
    with transaction.atomic():
        catalogue.restore_goal(goal)
        write_audit(request.user, site, f"Restored the goal {goal.pk}", {"status": "archived"}, {"status": "active"})
    say_with_undo(request, "Restored.", page_of(site, "goal-archive", goal.pk))
    return redirect("pages:goal", site.sitecode, goal.pk)


@site_page(Role.EDITOR)
def delete_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Show what deleting loses and offer the archive instead; on POST delete (promise K-18)."""
    goal = find_goal(site, goal_id)
    if request.method == "POST":
        with transaction.atomic():
            before = read_values(goal)
            catalogue.delete_goal(goal, now=timezone.now())
            segments.note_deletion_of_goals(site.pk)
            write_audit(request.user, site, f"Deleted the goal {goal.pk}", before, None)
        messages.success(request, f"Goal {show_goal_name(goal, template=site.goal_name_template)} deleted.")
        return redirect("pages:goals", site.sitecode)
    events = catalogue.list_events_leading_to(goal, template=site.goal_name_template)
    return show(
        request,
        "pages/goals/delete.html",
        title="Delete goal",
        goal=goal,
        ever=summarise_goals(goal.site_id, [goal], now=timezone.now())[goal.pk].ever,
        events=[*events, *(EventName(link.event_type, link.event_name) for link in goal.bindings.all())],
    )


@site_page(Role.EDITOR)
@require_POST
def unbind_event(request: HttpRequest, site: Site, goal_id: int, binding_id: int) -> HttpResponseBase:
    """Unlink an event from a goal, so that it finds its goal by name again."""
    binding = get_in_site(GoalBinding, site, binding_id, goal=goal_id)
    if not is_confirmed(request):
        return ask_unbind(request, site, binding)
    linked = {"type": binding.event_type, "name": binding.event_name}
    with transaction.atomic():
        catalogue.unbind_event(binding)
        next_goal = _find_goal_of(site, EventName(**linked))
        write_audit(request.user, site, f"Unlinked an event of the goal {goal_id}", linked, None)
    text = f"{binding.event_name} unlinked. Its events find their goal by name again."
    say_with_kept(request, site, text, KIND_OF_LINK, {"goal": goal_id, **linked, "next": next_goal})
    return redirect("pages:goal", site.sitecode, goal_id)


def undo_unbind(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Link an event to its goal again.

    Raises CannotUndoError if another goal has got the event since, and if this one was deleted.
    """
    goal, event = find_live_goal(site.pk, values["goal"]), EventName(values["type"], values["name"])
    if goal is None:
        raise CannotUndoError("The goal was deleted.")
    if GoalBinding.objects.filter(site=site, event_type=event.type, event_name=event.name).exists():
        raise CannotUndoError(f"{event.name} is linked to a goal again.")
    now = _find_goal_of(site, event)
    if now not in {None, goal.pk, values.get("next")}:
        raise CannotUndoError(f"{event.name} counts for goal {now} now.")
    with transaction.atomic():
        catalogue.bind_event(goal, event, template=site.goal_name_template)
        linked = {"type": event.type, "name": event.name}
        write_audit(request.user, site, f"Linked an event to the goal {goal.pk}", None, linked)
    messages.success(request, f"{event.name} linked again.")
    return redirect("pages:goal", site.sitecode, goal.pk)


def _find_goal_of(site: Site, event: EventName) -> int | None:
    """Return the id of the goal that an event counts for at present. One query."""
    found = find_goals_of_events(site.pk, [event], template=site.goal_name_template)
    return found[event].id if event in found else None


def ask_unbind(request: HttpRequest, site: Site, binding: GoalBinding) -> HttpResponseBase:
    """Return the page that asks for confirmation, with the goal's conversions of a day. One query."""
    day = timezone.now() - timedelta(hours=24)
    count = Conversion.objects.filter(site=site, goal=binding.goal, occurred_at__gt=day)[: MOST_COUNTED + 1].count()
    name = show_goal_name(binding.goal, template=site.goal_name_template)
    conversions = f"more than {MOST_COUNTED:,} conversions" if count > MOST_COUNTED else count_of(count, "conversion")
    return ask(
        request,
        title=f"Unlink “{binding.event_name}”",
        facts=[
            f"“{name}” had {conversions} in the last 24 hours, from all its events.",
            (
                f"From now on the {binding.event_type} event “{binding.event_name}” counts in the goal with its name, "
                "or creates a new goal."
            ),
        ],
        warning="This goal keeps its conversions.",
        action="Unlink",
        back=reverse("pages:goal", args=[site.sitecode, binding.goal_id]),
    )

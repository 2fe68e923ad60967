"""The settings of a site, which decide how its events are interpreted."""

from functools import lru_cache, partial
from typing import Any, Final, cast

from django import forms
from django.contrib import messages
from django.contrib.postgres.fields import ArrayField
from django.db import transaction
from django.forms.models import model_to_dict
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.ingest.provisioning import note_site_changed
from api.insight.rates import find_base
from api.models import Role, Site
from api.models.audit import audit_values, write_audit
from api.pages.access import show, site_page
from api.pages.fields import ZoneField, lines_field
from goals.list_order import GoalOrder, find_goals
from goals.models import Goal
from goals.naming import name_goal
from goals.queries import GoalFilter
from goals.shown_names import show_goal_name

EXAMPLE: Final = "Clicked on Checkout"
BY_CONVERSIONS: Final = GoalOrder("conversions", is_descending=True)
MOST_BASE_GOALS: Final = 100  # to choose from
LISTS: Final = (
    "public_traits",
    "entered_event_names",
    "exited_event_names",
    "link_event_names",
    "trait_event_names",
    "exposure_event_names",
)
PARTS: Final = (
    ("Site", ("name", "time_zone", "first_weekday")),
    (
        "Goals and conversions",
        (
            *("goal_name_template", "auto_tag", "default_currency", "base_goal_id"),
            *("names_pages_by_title", "audience_events_make_goals"),
        ),
    ),
    ("New-goal limit", ("goals_per_10_seconds", "goals_per_hour", "max_waiting_names")),
    ("Event retention", ("keeps_done_days",)),
    ("People", ("user_id_is_visitor_code", "company_is_group")),
    ("Remote data", ("public_traits", "requires_token", "visits_require_token", "identified_visits_require_token")),
    ("Special event names", LISTS[1:]),
)


LABELS: Final = {
    "name": "Site name",
    "goal_name_template": "Names of automatic goals",
    "default_currency": "Currency",
    "base_goal_id": "Base goal for rates",
    "user_id_is_visitor_code": "User ids are visitor codes",
    "company_is_group": "Companies are groups",
    "audience_events_make_goals": "Audience events create goals",
    "max_waiting_names": "Names of new goals that may wait",
    "keeps_done_days": "Days that events are kept",
}
HELP: Final = {
    "first_weekday": "In figures by week.",
    "goal_name_template": "Existing goals keep their names. Events with a new name create new goals.",
    "auto_tag": "Each goal that an event creates gets this tag.",
    "default_currency": "Used when an event has no currency. Three capital letters.",
    "base_goal_id": "The conversion rate of a goal is its converting visitors over these. "
    "Visitors seen are all with a conversion of any goal.",
    "audience_events_make_goals": "Otherwise events about personas, traits and identifiers change people only.",
    "goals_per_10_seconds": "Events with further names are queued. They convert later, with their own times.",
    "goals_per_hour": "Goals that people or the API create do not count.",
    "max_waiting_names": "Events with further names fail, and can be retried.",
    "requires_token": "Otherwise web pages read personas, groups and public traits.",
    "entered_event_names": "Events that say who is in a persona. One per line.",
    "exited_event_names": "Events that say who left a persona. One per line.",
    "link_event_names": "Events that only link identifiers of a person. One per line.",
    "trait_event_names": "Events that set a computed trait. One per line.",
    "exposure_event_names": "Track events that say which variation of an experiment was seen. One per line. "
    "PostHog calls them $feature_flag_called, Statsig statsig::experiment_exposure.",
}


def make_field(field: Any, **options: Any) -> Any:
    """Return a form's field, for a list one with a line per item."""
    if field.name == "time_zone":
        return ZoneField(help_text=field.help_text)
    if field.name == "base_goal_id":
        return forms.TypedChoiceField(required=False, coerce=int, empty_value=None)
    return lines_field(field) if isinstance(field, ArrayField) else field.formfield(**options)


class SiteForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    class Meta:
        model = Site
        fields = [name for _, names in PARTS for name in names]
        formfield_callback = make_field

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, label in LABELS.items():
            self.fields[name].label = label
        for name, text in HELP.items():
            self.fields[name].help_text = text
        # When they are shown, because a search of settings reads labels alone.
        base = lru_cache(partial(find_base, self.instance))
        self.initial["base_goal_id"] = lambda: (goal := base().goal) and goal.pk
        choices = cast("forms.TypedChoiceField", self.fields["base_goal_id"])
        template = self.instance.goal_name_template  # a form that was sent may put a wrong one into the instance
        # Once: the field and its widget ask for them.
        choices.choices = lru_cache(lambda: list_base_goals(self.instance, base().goal, template=template))

    @property
    def parts(self) -> list[tuple[str, list[forms.BoundField]]]:
        return [(title, [self[name] for name in names]) for title, names in PARTS]


def list_base_goals(site: Site, base: Goal | None, *, template: str) -> list[tuple[int | str, str]]:
    """Return the goals to choose a base from: those with most conversions, and the one that is chosen."""
    now = timezone.now()
    found = find_goals([site.pk], GoalFilter(), now=now, order=BY_CONVERSIONS, limit=MOST_BASE_GOALS, with_=()).goals
    goals = {goal.pk: goal for goal in (*found, *([base] if base else []))}
    names = {pk: str(show_goal_name(goal, template=template)) for pk, goal in goals.items()}
    return [("", "None: all visitors seen"), *sorted(names.items(), key=lambda item: (item[1].casefold(), item[0]))]


@site_page()
def show_settings(request: HttpRequest, site: Site) -> HttpResponseBase:
    return show_form(request, site, SiteForm(instance=site))


@site_page(Role.OWNER)
@require_POST
def save_settings(request: HttpRequest, site: Site) -> HttpResponseBase:
    before = model_to_dict(site, SiteForm.Meta.fields)
    form = SiteForm(request.POST, instance=Site.objects.get(pk=site.pk))
    if not form.is_valid():
        return show_form(request, site, form)
    with transaction.atomic():
        saved = form.save()
        was, is_now = audit_values(before, model_to_dict(saved, SiteForm.Meta.fields))
        if was:
            note_site_changed(site.pk, was, now=timezone.now())
            write_audit(request.user, site, "Changed the site's settings", was, is_now)
    messages.success(request, "Settings saved.")
    return redirect("pages:settings", site.sitecode)


def show_form(request: HttpRequest, site: Site, form: SiteForm) -> HttpResponseBase:
    template = site.goal_name_template
    return show(
        request,
        "pages/settings/site.html",
        title="Settings",
        tab="settings",
        form=form,
        example=name_goal("track", EXAMPLE, template=template),
        example_name=EXAMPLE,
        status=400 if form.errors else 200,
    )

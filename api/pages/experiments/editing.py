"""Changes of experiments by people: create, edit, decide, archive."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.insight.experiment_changes import Decided, ExperimentChange, change_experiment, create_experiment
from api.models import Role, Site
from api.pages.access import show, site_page
from api.pages.experiments.results import find
from api.pages.query_form import AS_SENT, TimeField
from api.pages.undo import read_switch, say_switched
from goals.experiments.catalogue import MOST_VARIATIONS
from goals.experiments.editing import EDITABLE_FIELDS, ExperimentError, VariationFields
from goals.experiments.models import (
    DECISION_LENGTH,
    HYPOTHESIS_LENGTH,
    KEY_LENGTH,
    MOST_WINDOW_DAYS,
    NAME_LENGTH,
    OWNER_LENGTH,
    REASON_LENGTH,
    Experiment,
    ExperimentGoal,
)
from goals.list_order import GoalOrder, find_goals
from goals.models import Goal
from goals.queries import GoalFilter
from goals.shown_names import show_goal_name

if TYPE_CHECKING:
    from decimal import Decimal

BY_CONVERSIONS: Final = GoalOrder("conversions", is_descending=True)
MOST_CHOICES: Final = 200  # goals with most conversions; the chosen ones are added
EMPTY_ROWS: Final = 2  # for further variations
GoalRole = ExperimentGoal.Role
ROLES: Final = {"primary": GoalRole.PRIMARY, "secondary": GoalRole.SECONDARY, "guardrails": GoalRole.GUARDRAIL}


class ExperimentForm(forms.Form):
    """The fields of an experiment. A new one has a key, by which exposures name it."""

    key = forms.CharField(max_length=KEY_LENGTH, help_text="Exposures name the experiment by it. It can't be changed.")
    name = forms.CharField(max_length=NAME_LENGTH, required=False)
    hypothesis = forms.CharField(max_length=HYPOTHESIS_LENGTH, required=False, widget=forms.Textarea(attrs={"rows": 3}))
    owner = forms.CharField(max_length=OWNER_LENGTH, required=False)
    primary = forms.TypedChoiceField(
        label="Primary goal", required=False, coerce=int, empty_value=None, help_text="The goal that decides."
    )
    secondary = forms.TypedMultipleChoiceField(label="Secondary goals", required=False, coerce=int)
    guardrails = forms.TypedMultipleChoiceField(
        required=False, coerce=int, help_text="Goals that the experiment must not harm."
    )
    window_days = forms.IntegerField(
        label="Attribution window, in days",
        min_value=1,
        max_value=MOST_WINDOW_DAYS,
        initial=7,
        help_text="Conversions count in these days after a visitor's first exposure.",
    )
    started_at = TimeField(label="Start", required=False, help_text="Empty: with the first exposure.")
    stopped_at = TimeField(label="Stop", required=False)

    def __init__(self, sent: Any = None, *, site: Site, experiment: Experiment | None = None) -> None:
        roles = {each.goal_id: each.role for each in experiment.goals.all()} if experiment else {}
        super().__init__(sent, initial=read_fields(experiment, roles) if experiment else None)
        choices = list_goals(site, chosen=list(roles))
        self.fields["primary"].choices = [("", "None yet"), *choices]  # type: ignore[attr-defined]  # a choice field
        for name in ("secondary", "guardrails"):
            self.fields[name].choices = choices  # type: ignore[attr-defined]
            self.fields[name].widget.attrs["size"] = 6
        if experiment is not None:
            del self.fields["key"]

    @property
    def roles(self) -> dict[int, GoalRole]:
        """The chosen goals. A goal that is chosen twice has the first role."""
        chosen = self.cleaned_data
        pairs = [(goal, ROLES["guardrails"]) for goal in chosen["guardrails"]]
        pairs += [(goal, ROLES["secondary"]) for goal in chosen["secondary"]]
        return dict(pairs) | ({chosen["primary"]: ROLES["primary"]} if chosen["primary"] else {})


class VariationForm(forms.Form):
    """A variation of an experiment, as a row. Rows without a key are left out."""

    key = forms.CharField(max_length=KEY_LENGTH, required=False)
    name = forms.CharField(max_length=NAME_LENGTH, required=False)
    share = forms.DecimalField(min_value=0, max_value=100, max_digits=9, decimal_places=6, required=False)
    is_reference = forms.BooleanField(required=False)

    def read(self) -> VariationFields:
        sent = self.cleaned_data
        share: Decimal | None = sent["share"]
        return VariationFields(
            key=sent["key"],
            name=sent["name"],
            share=None if share is None else share / 100,
            is_reference=sent["is_reference"],
        )


class ReasonForm(forms.Form):
    """The reason for other shares of an experiment that runs."""

    reason = forms.CharField(
        label="Reason for other shares",
        max_length=REASON_LENGTH,
        required=False,
        help_text="Other shares of an experiment that runs begin a new phase, in which only new visitors count.",
    )


class DecisionForm(forms.Form):
    """The decision of people, and its reason."""

    decision = forms.ChoiceField(choices=Experiment.Decision.choices, required=False)
    variation = forms.TypedChoiceField(label="Variation to ship", required=False, coerce=int, empty_value=None)
    reason = forms.CharField(max_length=DECISION_LENGTH, required=False, widget=forms.Textarea(attrs={"rows": 3}))

    def __init__(self, sent: Any = None, *, experiment: Experiment) -> None:
        shown = {
            "decision": experiment.decision,
            "variation": experiment.decided_for,
            "reason": experiment.decision_reason,
        }
        super().__init__(sent, initial=shown)
        choices = [("", "–"), *((each.number, str(each)) for each in experiment.variations.all())]
        self.fields["variation"].choices = choices  # type: ignore[attr-defined]  # a choice field


VariationForms = forms.formset_factory(
    VariationForm, extra=EMPTY_ROWS, max_num=MOST_VARIATIONS, absolute_max=MOST_VARIATIONS
)


def read_fields(experiment: Experiment, roles: Mapping[int, str]) -> dict[str, Any]:
    """Return the values of a form about an experiment. Pure."""
    goals = {field: [goal for goal, its in roles.items() if its == role] for field, role in ROLES.items()}
    times = {
        name: (at := getattr(experiment, name)) and timezone.localtime(at).strftime(AS_SENT)
        for name in ("started_at", "stopped_at")
    }
    fields = {name: getattr(experiment, name) for name in EDITABLE_FIELDS}
    return {**fields, **times, **goals, "primary": next(iter(goals["primary"]), None)}


def list_goals(site: Site, *, chosen: list[int]) -> list[tuple[int, str]]:
    """Return the goals to choose from, by name: those with most conversions and those chosen. Three queries."""
    found = find_goals(
        [site.pk], GoalFilter(), now=timezone.now(), order=BY_CONVERSIONS, limit=MOST_CHOICES, with_=()
    ).goals
    more = set(chosen) - {goal.pk for goal in found}
    goals = [*found, *(Goal.objects.filter(site=site, pk__in=more, deleted_at=None) if more else ())]
    named = [(goal.pk, str(show_goal_name(goal, template=site.goal_name_template))) for goal in goals]
    return sorted(named, key=lambda each: (each[1].casefold(), each[0]))


def list_rows(experiment: Experiment | None) -> list[dict[str, Any]]:
    """Return the variations as rows of a form, shares in per cent."""
    if experiment is None:
        return [{"key": "control", "is_reference": True}, {"key": "treatment"}]
    return [
        {
            "key": each.key,
            "name": each.name,
            "share": None if each.share is None else (each.share * 100).normalize(),
            "is_reference": each.is_reference,
        }
        for each in experiment.variations.all()
    ]


@site_page(Role.EDITOR)
def edit_experiment(request: HttpRequest, site: Site, experiment_id: int | None = None) -> HttpResponseBase:
    """Create an experiment before its first exposure, or edit one. Other shares of one that runs need a reason."""
    experiment = None if experiment_id is None else find(site, experiment_id)
    sent = request.POST if request.method == "POST" else None
    form = ExperimentForm(sent, site=site, experiment=experiment)
    rows = VariationForms(sent, initial=list_rows(experiment), prefix="variations")
    reason = ReasonForm(sent)
    if sent is not None and all([form.is_valid(), rows.is_valid(), reason.is_valid()]):
        try:
            saved = save(request, site, experiment, form, rows, reason=reason.cleaned_data["reason"])
        except ExperimentError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Saved." if experiment else f"Experiment {saved} created.")
            return redirect("pages:experiment", site.sitecode, saved.pk)
    return show(
        request,
        "pages/experiments/edit.html",
        title="Edit experiment" if experiment else "New experiment",
        experiment=experiment,
        form=form,
        rows=rows,
        reason=reason,
    )


def save(
    request: HttpRequest, site: Site, experiment: Experiment | None, form: ExperimentForm, rows: Any, *, reason: str
) -> Experiment:
    """Save a form with its rows. Raises ExperimentError, and then nothing is saved."""
    fields = {name: form.cleaned_data[name] for name in EDITABLE_FIELDS}
    change = ExperimentChange(
        fields={name: value for name, value in fields.items() if not is_same_minute(value, experiment, name)},
        variations=[row.read() for row in rows if row.cleaned_data.get("key")],
        reason=reason,
        goals=form.roles,
    )
    who, now = request.user, timezone.now()
    if experiment is None:
        origin = Experiment.Origin.PERSON
        return create_experiment(site, form.cleaned_data["key"], change, origin=origin, by=who, now=now)
    return change_experiment(experiment, change, by=who, now=now)


def is_same_minute(sent: Any, experiment: Experiment | None, name: str) -> bool:
    """Return True if a form, which has no seconds, left a time as it was. Pure."""
    kept = getattr(experiment, name, None)
    return isinstance(kept, datetime) and sent == kept.replace(second=0, microsecond=0)


@site_page(Role.EDITOR)
def decide(request: HttpRequest, site: Site, experiment_id: int) -> HttpResponseBase:
    """Keep what people decided, with its reason."""
    experiment = find(site, experiment_id)
    form = DecisionForm(request.POST if request.method == "POST" else None, experiment=experiment)
    if form.is_valid():
        sent = form.cleaned_data
        decided = Decided(Experiment.Decision(sent["decision"]), sent["reason"], sent["variation"])
        try:
            change_experiment(experiment, ExperimentChange(decided=decided), by=request.user, now=timezone.now())
        except ExperimentError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Decision saved." if decided.decision else "Decision taken back.")
            return redirect("pages:experiment", site.sitecode, experiment.pk)
    title = f"Decide {experiment}"
    return show(request, "pages/experiments/decide.html", title=title, experiment=experiment, form=form)


@site_page(Role.EDITOR)
@require_POST
def archive(request: HttpRequest, site: Site, experiment_id: int) -> HttpResponseBase:
    """Archive an experiment, or restore it. Its exposures are still recorded."""
    experiment = find(site, experiment_id)
    was_on = experiment.archived_at is not None
    is_on = read_switch(request, now=was_on)
    change_experiment(experiment, ExperimentChange(is_archived=is_on), by=request.user, now=timezone.now())
    say_switched(
        request,
        f"Experiment {experiment} {'archived' if is_on else 'restored'}.",
        reverse("pages:experiment-archive", args=[site.sitecode, experiment.pk]),
        (),
        is_on=is_on,
        was_on=was_on,
    )
    return redirect("pages:experiment", site.sitecode, experiment.pk)

"""Changes of experiments for pages and the management API: each is one transaction with its entry in the audit log."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q

from api.models import Site
from api.models.audit import audit_values, who_of, write_audit
from goals.experiments import editing
from goals.experiments.editing import ExperimentError, VariationFields
from goals.experiments.models import Experiment, ExperimentGoal
from goals.experiments.reading import find_experiment
from goals.models import Goal

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

Role = ExperimentGoal.Role


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision about an experiment. `variation` is the number of the one to ship."""

    decision: Experiment.Decision
    reason: str = ""
    variation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentChange:
    """Changes of an experiment. None leaves a part as it is."""

    fields: Mapping[str, Any] | None = None  # of editing.EDITABLE_FIELDS
    variations: Sequence[VariationFields] | None = None
    reason: str = ""  # of other shares while it runs
    goals: Mapping[int, Role] | None = None
    decided: Decided | None = None
    is_archived: bool | None = None


def create_experiment(
    site: Site,
    key: str,
    change: ExperimentChange,
    *,
    origin: Experiment.Origin,
    by: "User | AnonymousUser | str",
    now: datetime,
) -> Experiment:
    """Create an experiment before its first exposure. Raises ExperimentError."""
    _require_goals(site, change.goals or {})
    experiment = Experiment(site=site, key=key, origin=origin, **(change.fields or {}))
    with transaction.atomic():
        editing.create_experiment(
            experiment, variations=change.variations or (), goals=change.goals or {}, by=who_of(by), now=now
        )
        created = _reload(experiment)
        write_audit(by, site, f"Created the experiment {created.pk}", None, read_values(created))
    return created


def change_experiment(
    experiment: Experiment, change: ExperimentChange, *, by: "User | AnonymousUser | str", now: datetime
) -> Experiment:
    """Change an experiment and return it as it is then. Raises ExperimentError, and then nothing has changed."""
    site = experiment.site
    with transaction.atomic():
        editing.lock_experiment(experiment)
        experiment = _reload(experiment)
        before = read_values(experiment)
        _require_goals(site, change.goals or {}, chosen=[each.goal_id for each in experiment.goals.all()])
        if change.fields:
            for name, value in change.fields.items():
                setattr(experiment, name, value)
            editing.change_experiment(experiment, fields=change.fields)
        if change.variations is not None:
            editing.set_variations(experiment, change.variations, reason=change.reason, by=who_of(by), now=now)
        if change.goals is not None:
            editing.set_goals(experiment, change.goals)
        if change.decided is not None:
            its = change.decided
            editing.decide(experiment, its.decision, reason=its.reason, variation=its.variation, now=now)
        if change.is_archived is not None:
            editing.set_archived(experiment, at=(experiment.archived_at or now) if change.is_archived else None)
        changed = _reload(experiment)
        was, is_now = audit_values(before, read_values(changed))
        if was or is_now:
            write_audit(by, site, f"Changed the experiment {experiment.pk}", was, is_now)
    return changed


def read_values(experiment: Experiment) -> dict[str, Any]:
    """Return the fields that the audit log keeps."""
    times = ("started_at", "stopped_at", "archived_at")
    return {
        **{name: getattr(experiment, name) for name in ("key", "name", "hypothesis", "owner", "window_days")},
        **{name: at.isoformat() if (at := getattr(experiment, name)) else None for name in times},
        **{name: getattr(experiment, name) for name in ("decision", "decided_for", "decision_reason")},
        "variations": {
            each.key: {
                "name": each.name,
                "share": None if each.share is None else f"{each.share.normalize():f}",
                "is_reference": each.is_reference,
            }
            for each in experiment.variations.all()
        },
        "goals": {str(each.goal_id): each.role for each in experiment.goals.all()},
        "phases": [f"{each.started_at.isoformat()} {each.reason}" for each in experiment.phases.all()],
    }


def _require_goals(site: Site, goals: Mapping[int, Role], *, chosen: Collection[int] = ()) -> None:
    """Raise ExperimentError unless the site has these goals. One query, if any.

    A goal that was merged into another may stay if it is chosen already.
    """
    rows = Goal.objects.filter(Q(counts_for=None) | Q(pk__in=chosen), site_id=site.pk, pk__in=goals, deleted_at=None)
    known = set(rows.values_list("pk", flat=True)) if goals else set()
    if unknown := sorted(goals.keys() - known):
        raise ExperimentError(f"The site has no goal {unknown[0]}. Goals are named by their ids.")


def _reload(experiment: Experiment) -> Experiment:
    found = find_experiment(experiment.site_id, experiment.pk)
    if found is None:
        raise Experiment.DoesNotExist
    return found

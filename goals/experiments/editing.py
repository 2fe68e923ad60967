"""Changes of experiments by people: creation, variations with phases, goals, decision, archive."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from django.db import IntegrityError, transaction

from goals.experiments.catalogue import MOST_EXPERIMENTS, MOST_VARIATIONS
from goals.experiments.models import Experiment, ExperimentGoal, ExperimentPhase, Variation
from goals.experiments.numbers import number_of
from goals.experiments.reading import ExperimentState, state_of
from goals.visit_models import Exposure

EDITABLE_FIELDS: Final = ("name", "hypothesis", "owner", "window_days", "started_at", "stopped_at")
MOST_GOALS: Final = 50  # of an experiment
FIRST_TIME, LAST_TIME = datetime(1990, 1, 1, tzinfo=UTC), datetime(2201, 1, 1, tzinfo=UTC)
MILLIONTH: Final = Decimal("0.000001")  # shares that differ by less are the same
Role = ExperimentGoal.Role


class ExperimentError(Exception):
    """A change that an experiment does not allow; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class VariationFields:
    """A variation as a person describes it. Variations without a share divide the rest equally."""

    key: str
    name: str = ""
    share: Decimal | None = None
    is_reference: bool = False


def create_experiment(
    experiment: Experiment,
    *,
    variations: Sequence[VariationFields],
    goals: Mapping[int, Role],
    by: str,
    now: datetime,
) -> Experiment:
    """Save an experiment that a person describes before its first exposure. Raises ExperimentError.

    `experiment` is unsaved and has its site, key and origin. Its number follows from the key.
    """
    _require_times(experiment)
    experiment.number = number_of(experiment.key)
    try:
        with transaction.atomic():
            live = Experiment.objects.filter(site_id=experiment.site_id, archived_at=None)
            if live.count() >= MOST_EXPERIMENTS:
                raise ExperimentError(f"The site has {MOST_EXPERIMENTS:,} experiments. Archive some that have ended.")
            experiment.save()
            set_variations(experiment, variations, reason="", by=by, now=now)
            set_goals(experiment, goals)
    except IntegrityError as error:
        raise ExperimentError(f"The site has an experiment with the key “{experiment.key}”. Choose another.") from error
    return experiment


def change_experiment(experiment: Experiment, *, fields: Iterable[str]) -> None:
    """Save the fields that a person edited. Raises ExperimentError if its times cannot be."""
    fields = set(fields)
    if not fields <= set(EDITABLE_FIELDS):
        raise ValueError(f"not editable: {sorted(fields - set(EDITABLE_FIELDS))}")
    _require_times(experiment)
    experiment.save(update_fields=[*fields, "updated_at"])


def _require_times(experiment: Experiment) -> None:
    started, stopped = experiment.started_at, experiment.stopped_at
    if not all(at is None or FIRST_TIME <= at < LAST_TIME for at in (started, stopped)):
        raise ExperimentError(f"Choose times from {FIRST_TIME.year} to {LAST_TIME.year - 1}.")
    if started and stopped and stopped < started:
        raise ExperimentError("The experiment would stop before it starts. Choose a later stop.")


def lock_experiment(experiment: Experiment) -> Experiment:
    """Return an experiment as it is now, and let no other person change it until the transaction ends. One query.

    Exposures are still recorded meanwhile.
    """
    rows = Experiment.objects.select_for_update(no_key=True)
    return rows.get(site_id=experiment.site_id, pk=experiment.pk)


def set_variations(
    experiment: Experiment, wanted: Sequence[VariationFields], *, reason: str, by: str, now: datetime
) -> None:
    """Describe the variations of an experiment. Those that exposures made stay, even if they are not described.

    Other shares begin a phase, which needs a reason, while the experiment runs. Raises ExperimentError.
    """
    with transaction.atomic():
        experiment = lock_experiment(experiment)
        known = {each.number: each for each in experiment.variations.all()}
        described = {find_number(known.values(), fields.key): fields for fields in wanted}
        _require_sound(wanted, described, known)
        # Until a person describes how exposures are shared, the first shares are those that have been all along.
        is_first = not known or (
            experiment.origin == Experiment.Origin.EVENT and all(each.share is None for each in known.values())
        )
        before = _shares_of(known.values())
        changed = _describe(experiment, described, known)
        after = _shares_of((known | changed).values())
        if not is_first and after != before and _is_running(experiment, now=now):
            _begin_phase(experiment, after, reason=reason, by=by, now=now)
        # In the order in which the digest writes them: neither waits for the other in a circle.
        Variation.objects.bulk_create(
            [changed[number] for number in sorted(changed)],
            update_conflicts=True,
            unique_fields=["site", "experiment", "number"],
            update_fields=["name", "share", "is_reference"],
        )


def find_number(variations: Iterable[Variation], key: str) -> int:
    """Return the number of the variation with a key, or the number that exposures give the key. Pure.

    SDKs may name a variation by a number that its key does not give: one below 0 or with many digits.
    """
    return next((each.number for each in variations if each.key == key), number_of(key))


def _describe(
    experiment: Experiment, described: Mapping[int, VariationFields], known: Mapping[int, Variation]
) -> dict[int, Variation]:
    """Return the variations to save by number: the described ones, and one that was the reference before."""
    changed = {
        number: Variation(
            site_id=experiment.site_id,
            experiment=experiment,
            number=number,
            key=fields.key,
            name=fields.name,
            share=fields.share,
            is_reference=fields.is_reference,
        )
        for number, fields in described.items()
    }
    if any(each.is_reference for each in changed.values()):
        for number, variation in known.items():
            if variation.is_reference and number not in described:
                variation.is_reference = False
                changed[number] = variation
    return changed


def _is_running(experiment: Experiment, *, now: datetime) -> bool:
    exposures = Exposure.objects.filter(site_id=experiment.site_id, experiment_id=experiment.number)
    return state_of(experiment, now=now, is_exposed=exposures.exists()) == ExperimentState.RUNNING


def _require_sound(
    wanted: Sequence[VariationFields], described: Mapping[int, VariationFields], known: Mapping[int, Variation]
) -> None:
    if len(known.keys() | described.keys()) > MOST_VARIATIONS:
        raise ExperimentError(f"An experiment has {MOST_VARIATIONS} variations at most, with those of exposures.")
    if len(described) < len(wanted):
        raise ExperimentError("Two variations have one key. Give each its own.")
    if sum(each.is_reference for each in wanted) > 1:
        raise ExperimentError("Two variations are the reference. Choose one.")
    given = [each.share for each in wanted if each.share is not None]
    others = [each.share for number, each in known.items() if number not in described and each.share is not None]
    if sum(given) + sum(others) > 1 or (len(given) == len(wanted) and given and sum(given) != 1):
        raise ExperimentError("The shares must add up to 1.")


def _shares_of(variations: Iterable[Variation]) -> dict[str, str]:
    """Return the shares by number, without those of 0. Variations without a share divide the rest equally. Pure."""
    rows = sorted(variations, key=lambda each: each.number)
    given = [each.share for each in rows if each.share is not None]
    rest = (1 - sum(given, Decimal(0))) / max(len(rows) - len(given), 1)
    shares = {str(each.number): (rest if each.share is None else each.share).quantize(MILLIONTH) for each in rows}
    return {number: f"{share.normalize():f}" for number, share in shares.items() if share}


def _begin_phase(experiment: Experiment, shares: Mapping[str, str], *, reason: str, by: str, now: datetime) -> None:
    if not reason.strip():
        raise ExperimentError(
            "The experiment runs. Other shares begin a new phase, in which only new visitors count. Say why."
        )
    ExperimentPhase.objects.create(
        site_id=experiment.site_id,
        experiment=experiment,
        started_at=now,
        reason=reason.strip(),
        shares=dict(shares),
        made_by=by,
    )


def set_goals(experiment: Experiment, goals: Mapping[int, Role]) -> None:
    """Set the goals of an experiment with their roles. The caller has checked that the site has them.

    Raises ExperimentError for two primary goals, or too many.
    """
    if sum(role == Role.PRIMARY for role in goals.values()) > 1:
        raise ExperimentError("An experiment has one primary goal. Make the others secondary.")
    if len(goals) > MOST_GOALS:
        raise ExperimentError(f"An experiment has {MOST_GOALS} goals at most.")
    with transaction.atomic():
        lock_experiment(experiment)
        ExperimentGoal.objects.filter(site_id=experiment.site_id, experiment=experiment).delete()
        ExperimentGoal.objects.bulk_create(
            ExperimentGoal(site_id=experiment.site_id, experiment=experiment, goal_id=goal_id, role=role)
            for goal_id, role in goals.items()
        )


def decide(
    experiment: Experiment, decision: Experiment.Decision, *, reason: str, variation: int | None = None, now: datetime
) -> None:
    """Save what people decided. Raises ExperimentError without a reason, or for an unknown variation to ship."""
    if decision != Experiment.Decision.NONE and not reason.strip():
        raise ExperimentError("Say why: whoever reads the decision later needs the reason.")
    numbers = experiment.variations.values_list("number", flat=True)
    if decision == Experiment.Decision.SHIP and variation not in numbers:
        raise ExperimentError("Choose a variation of the experiment to ship.")
    experiment.decision, experiment.decision_reason = decision, reason.strip()
    experiment.decided_for = variation if decision == Experiment.Decision.SHIP else None
    experiment.decided_at = now if decision != Experiment.Decision.NONE else None
    experiment.save(update_fields=["decision", "decision_reason", "decided_for", "decided_at", "updated_at"])


def set_archived(experiment: Experiment, *, at: datetime | None) -> None:
    """Archive an experiment, or restore it. Its exposures are still recorded."""
    experiment.archived_at = at
    experiment.save(update_fields=["archived_at", "updated_at"])

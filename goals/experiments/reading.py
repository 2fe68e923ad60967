"""Experiments as people and programs read them: lists, states, the reference, and the settings of a result."""

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from goals.experiments.models import Experiment, Variation
from goals.visit_models import Exposure

MOST_COUNTED: Final = 100_000  # the oldest exposures of an experiment
REFERENCE_KEYS: Final = ("control", "reference", "original", "baseline", "off", "false", "0", "a")


class ExperimentState(StrEnum):
    """The state of an experiment at a moment."""

    DRAFT = "draft"
    RUNNING = "running"
    STOPPED = "stopped"
    DECIDED = "decided"
    ARCHIVED = "archived"


class Exposed(NamedTuple):
    """Exposures to an experiment, as a list shows them."""

    visitors: int
    is_part: bool  # there may be more, beyond MOST_COUNTED exposures
    first_at: datetime


def list_experiments(site_id: int, *, is_archived: bool = False) -> list[Experiment]:
    """Return the experiments of a site with variations, goals and phases, the newest first. Four queries."""
    rows = select_experiments(site_id, is_archived=is_archived)
    return list(rows.prefetch_related("variations", "goals", "phases"))


def select_experiments(site_id: int, *, is_archived: bool = False) -> QuerySet[Experiment]:
    """Return a query for the experiments of a site, the newest first, of which a page reads a part."""
    return _rows_of(site_id).filter(archived_at__isnull=not is_archived).order_by("-created_at", "-pk")


def find_experiment(site_id: int, experiment_id: int) -> Experiment | None:
    """Return an experiment of a site by its id, with variations, goals and phases. Four queries."""
    rows = _rows_of(site_id).filter(pk=experiment_id)
    return rows.prefetch_related("variations", "goals", "phases").first()


def _rows_of(site_id: int) -> QuerySet[Experiment]:
    """Return the experiments of a site with `is_exposed`: True if any visitor has seen one, in whatever phase."""
    exposures = Exposure.objects.filter(site_id=site_id, experiment_id=OuterRef("number"))
    return Experiment.objects.filter(site_id=site_id).annotate(is_exposed=Exists(exposures))


def count_exposed(site_id: int, numbers: Collection[int]) -> dict[int, Exposed]:
    """Return the visitors of experiments by number. One query, which reads MOST_COUNTED exposures of each at most.

    Visitors who saw several variations are among them.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT n.number, its.visitors, its.is_part, its.begun_at
              FROM unnest(%(numbers)s::bigint[]) AS n (number)
             CROSS JOIN LATERAL (
                   SELECT count(DISTINCT e.code) AS visitors, count(*) = %(most)s AS is_part,
                          min(e.first_at) AS begun_at
                     FROM (SELECT coalesce(x.linked_code, nullif(x.visitor_code, ''), x.anonymous_id) AS code,
                                  x.first_at
                             FROM goals_exposure x
                            WHERE x.site_id = %(site)s AND x.experiment_id = n.number
                            ORDER BY x.first_at, x.id LIMIT %(most)s) AS e) AS its
             WHERE its.begun_at IS NOT NULL
            """,
            {"site": site_id, "numbers": list(numbers), "most": MOST_COUNTED},
        )
        return {number: Exposed(*counts) for number, *counts in cursor.fetchall()}


def state_of(experiment: Experiment, *, now: datetime, is_exposed: bool = False) -> ExperimentState:
    """Return the state of an experiment. Without a start it runs from its first exposure on. Pure.

    `is_exposed` is for one that this module did not read.
    """
    if experiment.archived_at is not None:
        return ExperimentState.ARCHIVED
    if experiment.decision:
        return ExperimentState.DECIDED
    if experiment.stopped_at is not None and experiment.stopped_at <= now:
        return ExperimentState.STOPPED
    is_seen = is_exposed or experiment.origin == Experiment.Origin.EVENT or getattr(experiment, "is_exposed", False)
    has_begun = is_seen if experiment.started_at is None else experiment.started_at <= now
    return ExperimentState.RUNNING if has_begun else ExperimentState.DRAFT


def find_period(experiment: Experiment) -> tuple[datetime | None, datetime | None]:
    """Return the time between which first exposures count: since the last phase began, until the stop. Pure.

    Visitors of earlier phases are left out, because they were shared out otherwise. No phase begins after the stop.
    """
    stop = experiment.stopped_at
    begins = [phase.started_at for phase in experiment.phases.all() if stop is None or phase.started_at < stop]
    begins += [experiment.started_at] if experiment.started_at is not None else []
    return max(begins, default=None), stop


def find_reference(variations: Iterable[Variation]) -> Variation | None:
    """Return the variation with which the others are compared. Pure.

    The one that a person chose, otherwise the first whose key or name is one of REFERENCE_KEYS, otherwise the lowest.
    """

    def rank(variation: Variation) -> tuple[bool, int, int]:
        texts = {variation.key.casefold(), str(variation).casefold()}
        places = [place for place, key in enumerate(REFERENCE_KEYS) if key in texts]
        return not variation.is_reference, min(places, default=len(REFERENCE_KEYS)), variation.number

    return min(variations, key=rank, default=None)

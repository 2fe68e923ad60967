"""Check of exposures: each counts for the visitor that the registers name, and each has its experiment."""

from collections.abc import Iterator

from api.checks.base import Counts, Difference, fetch_row, of_site, stream
from api.digest import rekey
from cohorts.models import Identity
from goals.experiments.catalogue import MOST_EXPERIMENTS
from goals.models import Conversion

USER, ANONYMOUS = int(Identity.Kind.USER), int(Identity.Kind.ANONYMOUS)


def check_exposures(site_id: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield exposures whose link is not that of the registers, and exposures of no experiment.

    Exposures follow the rules of conversions (promise K-51), also after their message was pruned. Rows that a step of
    a late link or of an erasure has not reached yet are left out. So are those of sites without room for experiments.
    """
    counts["exposures"], counts["experiments"] = fetch_row(
        f"""
        SELECT (SELECT count(*) FROM goals_exposure e WHERE {of_site("e.site_id")}),
               (SELECT count(*) FROM goals_experiment x WHERE {of_site("x.site_id")})
        """,
        {"site": site_id},
    )
    if not rekey.is_waiting():
        yield from _find_misplaced(site_id)
    yield from _find_without_experiment(site_id)


def _find_misplaced(site_id: int | None) -> Iterator[Difference]:
    by = {rule.name.lower(): int(rule) for rule in Conversion.KeyedBy}
    misplaced = stream(
        f"""
        SELECT e.id
          FROM goals_exposure e
          LEFT JOIN cohorts_identity u
            ON u.site_id = e.site_id AND u.kind = {USER} AND u.value = e.visitor_code AND e.is_user
          LEFT JOIN cohorts_identity a ON a.site_id = e.site_id AND a.kind = {ANONYMOUS} AND a.value = e.anonymous_id
         WHERE {of_site("e.site_id")} AND (e.is_user OR e.anonymous_id <> '' OR e.linked_code IS NOT NULL)
           AND NOT EXISTS (SELECT 1 FROM api_latelink t
                            WHERE t.site_id = e.site_id AND e.id > t.conversions_after
                              AND ((t.kind = {USER} AND t.value = e.visitor_code AND e.is_user)
                                   OR (t.kind = {ANONYMOUS} AND t.value = e.anonymous_id)))
           AND NOT EXISTS (SELECT 1 FROM api_erasure r
                            WHERE r.site_id = e.site_id AND r.finished_at IS NULL
                              AND (e.visitor_code = ANY(r.sought) OR e.anonymous_id = ANY(r.sought)
                                   OR coalesce(a.registers #>> '{{visitor,3}}', u.registers #>> '{{visitor,3}}',
                                               u.registers #>> '{{device_visitor,3}}') = ANY(r.sought)))
           AND (e.linked_code, e.linked_by) IS DISTINCT FROM (
               coalesce(a.registers #>> '{{visitor,3}}', u.registers #>> '{{visitor,3}}',
                        u.registers #>> '{{device_visitor,3}}'),
               CASE WHEN a.registers ? 'visitor' THEN {by["anonymous_link"]}
                    WHEN u.registers ? 'visitor' THEN {by["user_link"]}
                    WHEN u.registers ? 'device_visitor' THEN {by["device_link"]} END)
        """,
        {"site": site_id},
    )
    meaning = (
        "An exposure does not count for the first visitor of its anonymous id, its user or a device of that user. "
        "Please report it as a defect. `manage.py rekey --again` links it."
    )
    for (id_,) in misplaced:
        yield Difference(meaning, f"exposure {id_}")


def _find_without_experiment(site_id: int | None) -> Iterator[Difference]:
    without = stream(
        f"""
        SELECT DISTINCT e.site_id, e.experiment_id FROM goals_exposure e
         WHERE {of_site("e.site_id")}
           AND NOT EXISTS (SELECT 1 FROM goals_experiment x
                            WHERE x.site_id = e.site_id AND x.number = e.experiment_id)
           AND (SELECT count(*) FROM goals_experiment x WHERE x.site_id = e.site_id) < {MOST_EXPERIMENTS}
        """,
        {"site": site_id},
    )
    meaning = "An experiment was deleted by hand, although it has exposures. The next exposure to it makes it again."
    for site, number in without:
        yield Difference(meaning, f"experiment {number} of site {site}")

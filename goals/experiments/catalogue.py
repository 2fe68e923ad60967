"""Experiments that exposures make by themselves, with their variations and the names that events give them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import connection

from times import LATEST

MOST_EXPERIMENTS: Final = 1_000  # of a site that are not archived; further ones have exposures only
MOST_VARIATIONS: Final = 100  # of an experiment


Numbers = tuple[int, int]  # experiment, variation


@dataclass(frozen=True, slots=True)
class SaidVariation:
    """A variation as an event names it. Names are empty if the event has none."""

    experiment_id: int
    variation_id: int
    experiment_key: str
    variation_key: str
    at: datetime
    experiment_name: str = ""
    variation_name: str = ""
    tag: str = ""

    @property
    def numbers(self) -> Numbers:
        return self.experiment_id, self.variation_id


class _Named(NamedTuple):
    """A key with the earliest name that an event gave it. `at` is LATEST and `name` is empty for none."""

    key: str
    at: datetime
    name: str


def note_variations(site_id: int, said: Collection[SaidVariation]) -> set[Numbers]:
    """Make unknown experiments and variations, and keep the earliest names. Return what found no room.

    A site has MOST_EXPERIMENTS that are not archived, and an experiment MOST_VARIATIONS. Call it inside a transaction.
    One query, if there are any; four more if something is new.
    """
    if not said:
        return set()
    wanted = {each.numbers for each in said}
    known = _load_known(site_id, wanted)
    experiments = _find_news(
        {each.experiment_id: each.experiment_key for each in said},
        [(each.experiment_id, each.at, each.experiment_name) for each in said],
        known.experiments,
    )
    tags: dict[int, set[str]] = {}
    for each in said:
        if each.tag and each.tag not in known.tags.get(each.experiment_id, ()):
            tags.setdefault(each.experiment_id, set()).add(each.tag)
    changed = sorted(experiments.keys() | tags.keys())
    if changed:
        keys = {each.experiment_id: _Named(each.experiment_key, LATEST, "") for each in said}
        _save_experiments(site_id, {number: experiments.get(number, keys[number]) for number in changed}, tags)
    variations = _find_news(
        {each.numbers: each.variation_key for each in said},
        [(each.numbers, each.at, each.variation_name) for each in said],
        known.variations,
    )
    if variations:
        _save_variations(site_id, variations)
    new = wanted - known.variations.keys()
    return new - _load_known(site_id, new).variations.keys() if new else set()


@dataclass(frozen=True, slots=True)
class _Known:
    experiments: Mapping[int, _Named]
    variations: Mapping[Numbers, _Named]
    tags: Mapping[int, Collection[str]]  # of experiments


def _load_known(site_id: int, wanted: Iterable[Numbers]) -> _Known:
    """Return those of these experiments and variations that are there. One query."""
    pairs = sorted(wanted)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT e.number, e.key, e.event_name, e.named_at, e.tags, v.number, v.key, v.event_name, v.named_at
              FROM unnest(%(experiments)b::bigint[], %(variations)b::bigint[]) AS w (experiment, variation)
              JOIN goals_experiment e ON e.site_id = %(site)s AND e.number = w.experiment
              LEFT JOIN goals_variation v
                ON v.site_id = %(site)s AND v.experiment_id = e.id AND v.number = w.variation
            """,
            {"site": site_id, "experiments": [pair[0] for pair in pairs], "variations": [pair[1] for pair in pairs]},
        )
        experiments: dict[int, _Named] = {}
        variations: dict[Numbers, _Named] = {}
        tags: dict[int, Collection[str]] = {}
        for number, key, name, at, tagged, variation, variation_key, variation_name, variation_at in cursor.fetchall():
            experiments[number] = _Named(key, at or LATEST, name)
            tags[number] = tagged
            if variation is not None:
                variations[number, variation] = _Named(variation_key, variation_at or LATEST, variation_name)
        return _Known(experiments, variations, tags)


def _find_news(
    keys: Mapping[Any, str], named: Iterable[tuple[Any, datetime, str]], known: Mapping[Any, _Named]
) -> dict[Any, _Named]:
    """Return what is unknown, or has an earlier name now, each with its earliest name. Pure."""
    earliest: dict[Any, tuple[datetime, str]] = {}
    for number, at, name in named:
        if name:
            earliest[number] = min((at, name), earliest.get(number, (at, name)))
    news = {}
    for number, key in keys.items():
        at, name = earliest.get(number, (LATEST, ""))
        old = known.get(number)
        if old is None or (name and (at, name) < (old.at, old.name)):
            news[number] = _Named(key, at, name)
    return news


# The earliest name wins, of equal times the first by its code points.
IS_EARLIER: Final = """
    excluded.named_at IS NOT NULL AND (t.named_at IS NULL OR excluded.named_at < t.named_at
    OR (excluded.named_at = t.named_at AND excluded.event_name COLLATE "C" < t.event_name COLLATE "C"))
"""


def _save_experiments(site_id: int, named: Mapping[int, _Named], tags: Mapping[int, Collection[str]]) -> None:
    """Insert experiments while the site has room, and update those that are there. Two queries."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO goals_experiment AS t (
                site_id, number, key, event_name, named_at, tags, origin,
                name, hypothesis, owner, window_days, decision, decision_reason, created_at, updated_at)
            SELECT %(site)s, n.number, n.key, n.name, n.at, '{{}}', 'event', '', '', '', 7, '', '', now(), now()
              FROM (SELECT n.*, e.id IS NOT NULL AS is_known,
                           row_number() OVER (PARTITION BY e.id IS NULL ORDER BY n.number) AS place
                      FROM unnest(%(numbers)b::bigint[], %(keys)b::text[], %(names)b::text[], %(times)b::timestamptz[])
                           AS n (number, key, name, at)
                      LEFT JOIN goals_experiment e ON e.site_id = %(site)s AND e.number = n.number) AS n
             WHERE n.is_known OR n.place <= %(most)s - (
                    SELECT count(*) FROM goals_experiment e WHERE e.site_id = %(site)s AND e.archived_at IS NULL)
             ORDER BY n.number
            ON CONFLICT (site_id, number) DO UPDATE
               SET event_name = CASE WHEN {IS_EARLIER} THEN excluded.event_name ELSE t.event_name END,
                   named_at = CASE WHEN {IS_EARLIER} THEN excluded.named_at ELSE t.named_at END
            """,
            {
                "site": site_id,
                "most": MOST_EXPERIMENTS,
                "numbers": list(named),
                "keys": [each.key for each in named.values()],
                "names": [each.name for each in named.values()],
                "times": [each.at if each.name else None for each in named.values()],
            },
        )
        added = sorted((number, tag) for number, of_number in tags.items() for tag in of_number)
        cursor.execute(
            """
            UPDATE goals_experiment AS e
               SET tags = (SELECT array_agg(DISTINCT tag ORDER BY tag) FROM unnest(e.tags || n.tags) AS its (tag))
              FROM (SELECT number, array_agg(tag) AS tags
                      FROM unnest(%(numbers)b::bigint[], %(tags)b::text[]) AS t (number, tag) GROUP BY number) AS n
             WHERE e.site_id = %(site)s AND e.number = n.number
            """,
            {"site": site_id, "numbers": [number for number, _ in added], "tags": [tag for _, tag in added]},
        )


def _save_variations(site_id: int, named: Mapping[Numbers, _Named]) -> None:
    """Insert variations while their experiments have room, and update those that are there. One query."""
    rows = sorted(named.items())
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO goals_variation AS t (
                site_id, experiment_id, number, key, event_name, named_at, name, is_reference)
            SELECT %(site)s, n.of_id, n.number, n.key, n.name, n.at, '', false
              FROM (SELECT n.*, e.id AS of_id, v.id IS NOT NULL AS is_known,
                           row_number() OVER (PARTITION BY e.id, v.id IS NULL ORDER BY n.number) AS place
                      FROM unnest(%(experiments)b::bigint[], %(numbers)b::bigint[], %(keys)b::text[], %(names)b::text[],
                                  %(times)b::timestamptz[]) AS n (experiment, number, key, name, at)
                      JOIN goals_experiment e ON e.site_id = %(site)s AND e.number = n.experiment
                      LEFT JOIN goals_variation v
                        ON v.site_id = %(site)s AND v.experiment_id = e.id AND v.number = n.number) AS n
             WHERE n.is_known OR n.place <= %(most)s - (
                    SELECT count(*) FROM goals_variation v WHERE v.site_id = %(site)s AND v.experiment_id = n.of_id)
             ORDER BY n.of_id, n.number
            ON CONFLICT (site_id, experiment_id, number) DO UPDATE
               SET event_name = CASE WHEN {IS_EARLIER} THEN excluded.event_name ELSE t.event_name END,
                   named_at = CASE WHEN {IS_EARLIER} THEN excluded.named_at ELSE t.named_at END
            """,
            {
                "site": site_id,
                "most": MOST_VARIATIONS,
                "experiments": [numbers[0] for numbers, _ in rows],
                "numbers": [numbers[1] for numbers, _ in rows],
                "keys": [each.key for _, each in rows],
                "names": [each.name for _, each in rows],
                "times": [each.at if each.name else None for _, each in rows],
            },
        )

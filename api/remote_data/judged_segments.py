"""Goalpost's own segments of visitors, judged by the evaluator at the moment of a request.

Stored memberships are not used, because they do not include the custom data of the request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from django.db import InterfaceError, OperationalError, connection, transaction

from api.digest.segments import load_outside
from api.digest.transaction_settings import prefer_index_plans
from api.http.batching import PendingCall, RequestBatcher
from api.http.database import ENDED_BY_LIMITS, DatabaseDownError, SessionKind, configure_open_connection, once
from cohorts.segments import membership
from cohorts.segments.evaluation import find_signals
from cohorts.segments.facts import PersonFacts
from cohorts.segments.persons import find_keys_of, find_roots, load_persons
from cohorts.segments.site_segments import SiteSegments

MOST_VISITORS: Final = 50  # a batch
Memberships = Mapping[int, bool]  # by segment


class JudgedVisitor(NamedTuple):
    """A visitor code or user id of a site, with the custom data that the reader sees and brings."""

    site_id: int
    company_is_group: bool  # of the site
    code: str
    custom_data: tuple[tuple[int, tuple[str, ...]], ...]  # by index
    # The segments that see this custom data, None for all. The others judge by what Goalpost knows: a reader without a
    # token must not find out their other conditions by trying values.
    open_segments: frozenset[int] | None


def judge_visitors(site_id: int, asked: Sequence[JudgedVisitor], *, now: datetime) -> dict[JudgedVisitor, Memberships]:
    """Return the memberships of visitors of one site. Four queries, and one for each kind of facts that is asked for.

    An id is looked up as user, then visitor, then anonymous id, as remote data does.
    """
    segments = membership.read_segments(site_id)
    if segments is None:
        return {each: {} for each in asked}
    keys = find_keys_of(site_id, [each.code for each in asked])
    roots = find_roots(site_id, list(keys.values()))
    persons = load_persons(site_id, sorted(set(roots.values())))
    facts = membership.load_facts(
        site_id,
        [(segments.needs, persons)],
        load_outside=load_outside,
        company_is_group=asked[0].company_is_group,
        now=now,
        fillings=segments.fillings,
    )
    found = {}
    for each in asked:
        key = keys.get(each.code)
        root = None if key is None else roots.get(key)
        found[each] = _judge(each, segments, PersonFacts() if root is None else facts[root], now=now)
    return found


def _judge(asked: JudgedVisitor, segments: SiteSegments, facts: PersonFacts, *, now: datetime) -> Memberships:
    seen = dict[int, Sequence[str]](asked.custom_data)
    if asked.open_segments is None:
        seen = {**facts.custom_data, **seen}
    is_open = segments.ids if asked.open_segments is None else segments.ids & asked.open_segments
    with_seen = find_signals(segments.part(is_open).judges, replace(facts, custom_data=seen), now=now)
    known = find_signals(segments.part(segments.ids - is_open).judges, facts, now=now)
    return {id_: (with_seen if id_ in is_open else known)[id_].holds for id_ in segments.ids}


def _serve(calls: Sequence[PendingCall[JudgedVisitor, Memberships]]) -> None:
    """Judge for all these requests, site by site. A site that fails fails only its own calls."""
    by_site: dict[int, list[PendingCall[JudgedVisitor, Memberships]]] = {}
    for call in calls:
        by_site.setdefault(call.argument.site_id, []).append(call)
    for site_id, its_calls in by_site.items():
        try:
            found = _judge_in_transaction(site_id, [call.argument for call in its_calls])
        except Exception as error:  # noqa: BLE001 - the request raises it
            for call in its_calls:
                call.reject(error)
        else:
            for call in its_calls:
                call.resolve(found[call.argument])


def _judge_in_transaction(site_id: int, asked: Sequence[JudgedVisitor]) -> dict[JudgedVisitor, Memberships]:
    """Judge with this thread's connection, which is made again once if it is lost. Raises DatabaseDownError."""
    for attempt in (1, 2):
        try:
            if connection.connection is None:
                configure_open_connection(SessionKind.READS)
            with transaction.atomic():
                prefer_index_plans()
                return judge_visitors(site_id, asked, now=datetime.now(UTC))
        except (InterfaceError, OperationalError) as error:
            connection.close()
            if attempt == 2 or isinstance(error.__cause__, ENDED_BY_LIMITS):  # noqa: PLR2004
                raise DatabaseDownError from error
    raise AssertionError


@once
def batcher() -> RequestBatcher[JudgedVisitor, Memberships]:
    """Return this process's thread for judgements, started by the first request."""
    return RequestBatcher(_serve, name="judgements", max_size=MOST_VISITORS, size=lambda _: 1)

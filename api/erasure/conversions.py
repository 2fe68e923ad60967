"""Conversions, links and totals of an erased person."""

from collections.abc import Sequence
from typing import Any

from django.db import connection
from django.db.models import CharField, Value
from django.db.models.functions import Cast, Concat

from api.digest import segments
from api.erasure.pseudonyms import Pseudonyms
from api.insight.people import message_ids_of
from api.models import Erasure, LateLink
from api.models.message_rows import delete_messages
from cohorts.models import Identity, Link
from goals import totals
from goals.models import Cancellation, Conversion
from goals.visit_models import VisitActivity, VisitFact
from goals.visitor_totals import CountedConversion


def pseudonyms_of(erasure: Erasure) -> Pseudonyms:
    return Pseudonyms.make(erasure.sought, erasure.marker)


def remove_links(erasure: Erasure) -> None:
    """Delete the links from and to the person's ids, and their late links, by indexes."""
    links = Link.objects.filter(site_id=erasure.site_id)
    links.filter(kind__in=Identity.Kind.values, value__in=erasure.sought).delete()
    links.filter(user_value__in=erasure.sought).delete()
    late_links = LateLink.objects.filter(site_id=erasure.site_id)
    late_links.filter(kind__in=Identity.Kind.values, value__in=erasure.sought).delete()
    late_links.filter(users_after__in=erasure.sought).update(users_after="")  # an id as a cursor


def remove_visits(erasure: Erasure) -> None:
    """Delete the visits of the person's ids, by indexes."""
    for model in (VisitFact, VisitActivity):
        rows = model._default_manager.filter(site_id=erasure.site_id)  # noqa: SLF001 - Django's own way
        rows.filter(visitor_code__in=erasure.sought).delete()


def forget_exposures(erasure: Erasure) -> None:
    """Keep of the person's exposures what results of experiments need, under the marker that conversions have.

    Otherwise a result would change with an erasure: conversions would stay, and the visitors would be gone. By indexes.
    """
    parameters: dict[str, Any] = {"site": erasure.site_id, "ids": erasure.sought, "marker": erasure.marker}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH gone AS (
                DELETE FROM goals_exposure AS e
                 WHERE e.site_id = %(site)s
                   AND (e.visitor_code = ANY(%(ids)s::text[])
                        OR (e.anonymous_id <> '' AND e.anonymous_id = ANY(%(ids)s::text[])))
                RETURNING experiment_id, variation_id, first_at
            )
            INSERT INTO goals_exposure AS t (
                site_id, visitor_code, is_user, experiment_id, variation_id, anonymous_id, first_at)
            SELECT %(site)s, %(marker)s, false, experiment_id, variation_id, '', min(first_at)
              FROM gone GROUP BY experiment_id, variation_id
            ON CONFLICT (site_id, visitor_code, is_user, experiment_id, variation_id, anonymous_id) DO UPDATE
               SET first_at = least(t.first_at, excluded.first_at)
            """,
            parameters,
        )
        # Exposures of other people count for the pseudonym, as their conversions do.
        pseudonyms = pseudonyms_of(erasure).of
        cursor.execute(
            """
            UPDATE goals_exposure AS e SET linked_code = p.pseudonym
              FROM unnest(%(ids)s::text[], %(pseudonyms)s::text[]) AS p (id, pseudonym)
             WHERE e.site_id = %(site)s AND e.linked_code = p.id
            """,
            {"site": erasure.site_id, "ids": list(pseudonyms), "pseudonyms": list(pseudonyms.values())},
        )


def forget_cancellations(erasure: Erasure) -> None:
    """Delete the messages of the person's cancellations, and keep of the cancellations what figures need."""
    rows = Cancellation.objects.filter(site_id=erasure.site_id, visitor_code__in=erasure.sought)
    keys = list(rows.values_list("message_key", flat=True))
    erasure.messages += delete_messages(erasure.site_id, message_ids_of(erasure.site_id, keys))
    rows.update(
        visitor_code=erasure.marker,
        properties={},
        message_key=Concat(Value("erased:"), Cast("id", CharField()), output_field=CharField()),
    )


def forget_conversions(erasure: Erasure, conversion_ids: Sequence[int]) -> None:
    """Delete the messages of these conversions, and keep of the conversions what totals need."""
    if not conversion_ids:
        return
    keys = Conversion.objects.filter(site_id=erasure.site_id, pk__in=conversion_ids).values_list(
        "message_key", flat=True
    )
    erasure.messages += delete_messages(erasure.site_id, message_ids_of(erasure.site_id, list(keys)))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE goals_conversion AS c
               SET visitor_code = %s, keyed_by = 0, user_id = NULL, anonymous_id = NULL, properties = '{}',
                   message_key = 'erased:' || c.id
              FROM (SELECT id, visitor_code FROM goals_conversion
                     WHERE site_id = %s AND id = ANY(%s) ORDER BY id FOR UPDATE) AS old
             WHERE c.site_id = %s AND c.id = old.id
            RETURNING c.occurred_at, c.goal_id, old.visitor_code, c.visitor_code, c.revenue, c.currency
            """,
            [erasure.marker, erasure.site_id, list(conversion_ids), erasure.site_id],
        )
        erasure.conversions += move_totals(erasure, cursor.fetchall())


def move_totals(erasure: Erasure, rows: Sequence[tuple[Any, ...]]) -> int:
    """Move conversions to the marker in the totals, and return how many there are.

    A worker evaluates the segments of other people for whom they counted within seconds of the commit.
    """
    moved = [
        totals.MovedConversion(CountedConversion((goal, new), at, revenue, currency), (goal, old))
        for at, goal, old, new, revenue, currency in rows
    ]
    totals.count_conversions(erasure.site_id, [], moved)
    segments.note_moved(erasure.site_id, moved)
    return len(rows)


def count_replaced(erasure: Erasure, what: str, rows: int = 1) -> None:
    if rows:
        erasure.replaced = {**(erasure.replaced or {}), what: (erasure.replaced or {}).get(what, 0) + rows}

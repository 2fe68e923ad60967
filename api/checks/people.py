"""Check of people: conversions, identities and links agree with the registers."""

from collections.abc import Iterator
from itertools import chain

from api.checks.base import Counts, Difference, fetch_row, of_site, stream
from api.digest import rekey
from cohorts.models import Identity
from goals.models import Conversion


def check_people(site_id: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield conversions and identities that contradict the registers.

    Every conversion counts for the visitor that the registers name (promise K-51), also after its message was pruned.
    Every identity points where its registers say, and every user has the first visitor codes of its devices. Rows
    that a step of a late link or of an erasure has not reached yet are left out.
    """
    counts["identities"], counts["linked"], counts["unmatched"] = fetch_row(
        f"""
        SELECT (SELECT count(*) FROM cohorts_identity i WHERE {of_site("i.site_id")}),
               count(*) FILTER (WHERE keyed_by = ANY(%(linked)s)), count(*) FILTER (WHERE keyed_by = ANY(%(unmatched)s))
          FROM goals_conversion c WHERE {of_site("c.site_id")}
        """,
        {"site": site_id, "linked": list(Conversion.LINKED), "unmatched": list(Conversion.UNMATCHED)},
    )
    (counts["late"],) = fetch_row(
        f"SELECT count(*) FROM api_latelink t WHERE {of_site('t.site_id')}", {"site": site_id}
    )
    misplaced = chain(_find_misplaced_conversions(site_id), _find_outdated_users(site_id))
    if rekey.is_waiting():
        counts["to_rekey"] = sum(1 for _ in misplaced)
    else:
        yield from misplaced
    yield from _find_misplaced_identities(site_id)


def _find_misplaced_conversions(site_id: int | None) -> Iterator[Difference]:
    user, anonymous = int(Identity.Kind.USER), int(Identity.Kind.ANONYMOUS)
    by = {rule.name.lower(): int(rule) for rule in Conversion.KeyedBy}
    misplaced = stream(
        f"""
        SELECT c.id, c.message_key
          FROM goals_conversion c
          LEFT JOIN cohorts_identity u ON u.site_id = c.site_id AND u.kind = {user} AND u.value = c.user_id
          LEFT JOIN cohorts_identity a ON a.site_id = c.site_id AND a.kind = {anonymous} AND a.value = c.anonymous_id
         WHERE {of_site("c.site_id")} AND c.keyed_by <> {by["event"]}
           AND NOT EXISTS (SELECT 1 FROM api_latelink t
                            WHERE t.site_id = c.site_id AND c.id > t.conversions_after
                              AND ((t.kind = {user} AND t.value = c.user_id)
                                   OR (t.kind = {anonymous} AND t.value = c.anonymous_id)))
           AND NOT EXISTS (SELECT 1 FROM api_erasure e
                            WHERE e.site_id = c.site_id AND e.finished_at IS NULL
                              AND (c.user_id = ANY(e.sought) OR c.anonymous_id = ANY(e.sought)))
           AND (c.visitor_code, c.keyed_by) IS DISTINCT FROM (
               coalesce(a.registers #>> '{{visitor,3}}', u.registers #>> '{{visitor,3}}',
                        u.registers #>> '{{device_visitor,3}}', c.user_id, c.anonymous_id),
               CASE WHEN a.registers ? 'visitor' THEN {by["anonymous_link"]}
                    WHEN u.registers ? 'visitor' THEN {by["user_link"]}
                    WHEN u.registers ? 'device_visitor' THEN {by["device_link"]}
                    WHEN c.user_id IS NOT NULL THEN {by["user"]} ELSE {by["anonymous"]} END)
        """,
        {"site": site_id},
    )
    meaning = (
        "A conversion does not count for the first visitor of its anonymous id, its user id or a device of that user. "
        "Please report it as a defect, with the rows of these messages in api_message. `manage.py rekey --again` "
        "re-keys it."
    )
    for id_, key in misplaced:
        yield Difference(meaning, f"conversion {id_} ({key})")


def _find_outdated_users(site_id: int | None) -> Iterator[Difference]:
    """Yield users whose devices have earlier visitor codes than their own, and identities whose owner is kept twice."""
    user, anonymous = int(Identity.Kind.USER), int(Identity.Kind.ANONYMOUS)
    stamp = '({0} ->> 0)::bigint, ({0} ->> 3) COLLATE "C", ({0} ->> 1)::bigint, ({0} ->> 2) COLLATE "C"'
    outdated = stream(
        f"""
        SELECT DISTINCT u.id
          FROM (SELECT site_id, kind, value, user_value FROM cohorts_link
                 UNION ALL
                SELECT site_id, kind, value, parent_value FROM cohorts_identity
                 WHERE kind IN ({user}, {anonymous}) AND parent_kind = {user}) AS l
          JOIN cohorts_identity d ON d.site_id = l.site_id AND d.kind = l.kind AND d.value = l.value
          JOIN cohorts_identity u ON u.site_id = l.site_id AND u.kind = {user} AND u.value = l.user_value
         CROSS JOIN LATERAL (VALUES (d.registers -> 'visitor'), (d.registers -> 'device_visitor')) AS device (register)
         WHERE {of_site("l.site_id")} AND device.register IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM api_latelink t
                            WHERE t.site_id = l.site_id AND t.kind = l.kind AND t.value = l.value
                              AND l.user_value > t.users_after)
           AND (NOT u.registers ? 'device_visitor'
                OR ({stamp.format("device.register")}) < ({stamp.format("(u.registers -> 'device_visitor')")}))
         UNION ALL
        SELECT i.id FROM cohorts_link l
          JOIN cohorts_identity i ON i.site_id = l.site_id AND i.kind = l.kind AND i.value = l.value
         WHERE {of_site("l.site_id")} AND i.parent_kind = {user} AND i.parent_value = l.user_value
        """,
        {"site": site_id},
    )
    meaning = (
        "A user lacks the first visitor code of a device that was linked to it, or cohorts_link repeats an owner that "
        "the registers hold. Please report it as a defect. `manage.py rekey --again` adds the code."
    )
    for (id_,) in outdated:
        yield Difference(meaning, f"identity {id_}")


def _find_misplaced_identities(site_id: int | None) -> Iterator[Difference]:
    user, anonymous = int(Identity.Kind.USER), int(Identity.Kind.ANONYMOUS)
    misplaced = stream(
        f"""
        SELECT i.id FROM cohorts_identity i
         WHERE {of_site("i.site_id")} AND (i.parent_kind, i.parent_value) IS DISTINCT FROM (
               CASE WHEN i.registers ? 'user' THEN {user} WHEN i.registers ? 'anonymous' THEN {anonymous} END,
               coalesce(i.registers #>> '{{user,3}}', i.registers #>> '{{anonymous,3}}'))
        """,
        {"site": site_id},
    )
    meaning = (
        "An identity's parent columns contradict its registers, so remote data misses a part of its person. The row "
        "was changed by hand. Set parent_kind and parent_value to the register `user`, or `anonymous` if there is none."
    )
    for (id_,) in misplaced:
        yield Difference(meaning, f"identity {id_}")

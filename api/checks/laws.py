"""The laws that SQL alone can check: each a function that yields the rows which contradict it."""

from collections.abc import Iterator
from itertools import chain
from typing import Final

from api.checks.base import AGAIN, Difference, Figures, fetch_row, of_site, stream
from api.checks.changes import last_change
from api.digest import rekey
from api.events.effects import Effect
from api.events.reasons import WARNINGS, codes_of
from api.models import Message, Site
from cohorts.models import Identity
from goals import quota
from goals.models import Conversion, Goal, GoalCreation

EFFECTS: Final = [effect.value for effect in Effect]
REASONS_OF: Final = {
    Message.Status.PENDING: {"", "digest_failed"},
    Message.Status.DEFERRED: {"goal_quota"},
    Message.Status.DONE: codes_of("done") | {""},
    Message.Status.REJECTED: codes_of("rejected"),
    Message.Status.FAILED: codes_of("failed"),
}
# `Stored.key` in SQL.
KEY: Final = "CASE WHEN m.message_id IS NULL THEN '#' || m.id ELSE m.type || ':' || m.message_id END"


def check_claims(_: int | None, figures: Figures) -> Iterator[Difference]:
    """No worker died with messages in hand without anybody noticing. Of all sites: a claim has none."""
    rows = stream(
        """
        SELECT c.worker, cardinality(c.message_ids),
               c.claimed_at < clock_timestamp() - interval '5 minutes' AND NOT EXISTS (
                   SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND d.datname = current_database()
                      AND (l.classid::bigint << 32 | l.objid::bigint) = c.worker)
          FROM api_claim c ORDER BY c.claimed_at
        """,
        {},
    )
    meaning = (
        "A worker died more than 5 minutes ago and nobody took over what it had in hand. Start a worker and beat: "
        "both tend to it every second."
    )
    for worker, messages, is_left in rows:
        figures["claims"] += 1
        if is_left:
            yield Difference(meaning, f"claim of worker {worker}, {messages} messages")


def check_inbox(site_id: int | None, figures: Figures) -> Iterator[Difference]:
    """Every message has one status, with a reason and effects that fit it."""
    counts = stream(
        f"SELECT m.status, count(*) FROM api_message m WHERE {of_site('m.site_id')} GROUP BY m.status",
        {"site": site_id},
    )
    for status, count in counts:
        figures["messages"] += count
        figures[status] += count
    misfits = stream(
        f"""
        SELECT m.id, m.status, m.reason, array_to_string(m.effects, ' ') FROM api_message m
         WHERE {of_site("m.site_id")} AND (
               NOT m.status || ':' || m.reason = ANY(%(reasons)s)
            OR NOT m.effects <@ %(effects)s::varchar[] OR NOT m.warnings <@ %(warnings)s::varchar[]
            OR (m.status = 'done' AND (m.effects = '{{}}' OR m.digested_at IS NULL))
            OR (m.status = 'deferred' AND m.waiting_for = '')
            OR (m.status <> 'done' AND m.effects && '{{converted,nothing}}')
            OR (m.effects @> '{{nothing}}' AND cardinality(m.effects) > 1)
            OR (NOT m.effects @> '{{converted}}' AND (m.effects @> '{{goal_created}}' OR m.goal_id IS NOT NULL))
            OR NOT EXISTS (SELECT 1 FROM api_site s WHERE s.id = m.site_id))
        """,
        {
            "site": site_id,
            "reasons": [f"{status}:{reason}" for status, reasons in REASONS_OF.items() for reason in reasons],
            "effects": EFFECTS,
            "warnings": list(WARNINGS),
        },
    )
    meaning = f"Status, reason, effects or site of a message contradict each other: no digest wrote that. {AGAIN}"
    for id_, status, reason, effects in misfits:
        yield Difference(meaning, f"message {id_}: {status}, reason {reason or 'none'}, effects {effects or 'none'}")


def check_queue(site_id: int | None, figures: Figures) -> Iterator[Difference]:
    """Every deferred message waits for a name that stands in the queue, or has just left it.

    A name without a message is no difference: its message may have died, and it leaves when its turn comes.
    """
    figures["names"], figures["ready"], figures["deferred"] = fetch_row(
        f"""
        SELECT count(*), count(*) FILTER (WHERE has_goal),
               (SELECT count(*) FROM api_message m WHERE m.status = 'deferred' AND {of_site("m.site_id")})
          FROM goals_waitingname WHERE {of_site("site_id")}
        """,
        {"site": site_id},
    )
    stranded = stream(
        f"""
        SELECT m.id FROM api_message m
         WHERE m.status = 'deferred' AND {of_site("m.site_id")} AND NOT EXISTS (
               SELECT 1 FROM goals_waitingname w WHERE w.site_id = m.site_id AND w.name = m.waiting_for)
        """,
        {"site": site_id},
    )
    meaning = f"A deferred message waits for a name that stands in no queue: its turn would never come. {AGAIN}"
    for (id_,) in stranded:
        yield Difference(meaning, f"message {id_}")


def check_conversions(site_id: int | None, figures: Figures) -> Iterator[Difference]:
    """Messages that say `converted` and conversions are the same; but for those whose goal was deleted, and those
    whose message is old enough to have been pruned.
    """
    figures["conversions"], figures["pruned"], figures["resent"], figures["converted"] = fetch_row(
        f"""
        SELECT count(*), count(*) FILTER (WHERE m.id IS NULL), count(*) FILTER (WHERE NOT m.effects @> '{{converted}}'),
               (SELECT count(*) FROM api_message m WHERE m.effects @> '{{converted}}' AND {of_site("m.site_id")})
          FROM goals_conversion c
          LEFT JOIN api_message m ON m.site_id = c.site_id AND {KEY} = c.message_key AND m.status <> 'rejected'
         WHERE {of_site("c.site_id")}
        """,
        {"site": site_id},
    )
    yield from _find_lost(site_id, figures)
    yield from _find_invented(site_id)


def _find_lost(site_id: int | None, figures: Figures) -> Iterator[Difference]:
    rows = stream(
        f"""
        SELECT m.id, {KEY}, m.goal_id, c.id, g.id IS NOT NULL AND g.deleted_at IS NULL
          FROM api_message m
          LEFT JOIN goals_conversion c ON c.site_id = m.site_id AND c.message_key = {KEY}
          LEFT JOIN goals_goal g ON g.id = m.goal_id
         WHERE m.effects @> '{{converted}}' AND {of_site("m.site_id")}
           AND (c.id IS NULL OR c.goal_id <> m.goal_id)
        """,
        {"site": site_id},
    )
    lost = f"A message converted, and its conversion is gone though the goal is there: it was deleted by hand. {AGAIN}"
    moved = "A conversion belongs to another goal than the one that its message converted: it was moved by hand."
    for id_, key, goal_id, conversion_id, is_live in rows:
        if conversion_id is not None:
            yield Difference(moved, f"conversion {conversion_id} of message {id_} ({key}), goal {goal_id}")
        elif goal_id is None:
            figures["untold"] += 1
        elif is_live:
            yield Difference(lost, f"message {id_} ({key}), goal {goal_id}")
        else:
            figures["deleted"] += 1


def _find_invented(site_id: int | None) -> Iterator[Difference]:
    rows = stream(
        f"""
        SELECT c.id, c.message_key, m.id, g.site_id <> c.site_id
          FROM goals_conversion c
          JOIN goals_goal g ON g.id = c.goal_id
          LEFT JOIN api_message m ON m.site_id = c.site_id AND {KEY} = c.message_key AND m.status <> 'rejected'
         -- What is left of somebody who was erased (api.erasure.erase) has no message.
         WHERE {of_site("c.site_id")} AND c.message_key NOT LIKE 'erased:%%' AND (
               g.site_id <> c.site_id
            -- Seven days are the least that a done message stays, and hardly any happens after its receipt.
            OR (m.id IS NULL AND c.occurred_at > now() - interval '6 days')
            -- What is sent again after the first was pruned finds its conversion; without a messageId nothing does.
            OR (NOT m.effects @> '{{converted}}' AND m.reason <> 'already_converted'
                AND (m.status = 'done' OR m.message_id IS NULL)))
        """,
        {"site": site_id},
    )
    foreign = "A conversion and its goal belong to two sites: its row was changed by hand."
    unsent = (
        "A conversion of the last six days has no message, and none as young is ever pruned: it was inserted, or its "
        "message deleted, by hand."
    )
    denied = "A conversion whose message says that it did not convert: one of the two rows was changed by hand."
    for id_, key, message_id, is_foreign in rows:
        meaning = foreign if is_foreign else unsent if message_id is None else denied
        yield Difference(meaning, f"conversion {id_} ({key})" + (f", message {message_id}" if message_id else ""))


def check_people(site_id: int | None, figures: Figures) -> Iterator[Difference]:
    """Yield conversions and identities that contradict the registers.

    Every conversion counts for whom the registers say (promises K-51), whether its message is still there or not.
    Every identity points where its registers say, and every user knows the first visitor codes of its devices. Rows
    that a step of a late link or of an erasure has not reached yet are left out.
    """
    figures["identities"], figures["linked"], figures["unmatched"] = fetch_row(
        f"""
        SELECT (SELECT count(*) FROM cohorts_identity i WHERE {of_site("i.site_id")}),
               count(*) FILTER (WHERE keyed_by = ANY(%(linked)s)), count(*) FILTER (WHERE keyed_by = ANY(%(unmatched)s))
          FROM goals_conversion c WHERE {of_site("c.site_id")}
        """,
        {"site": site_id, "linked": list(Conversion.LINKED), "unmatched": list(Conversion.UNMATCHED)},
    )
    (figures["late"],) = fetch_row(
        f"SELECT count(*) FROM api_latelink t WHERE {of_site('t.site_id')}", {"site": site_id}
    )
    misplaced = chain(_find_misplaced_conversions(site_id), _find_untold_users(site_id))
    if rekey.is_waiting():
        figures["to_rekey"] = sum(1 for _ in misplaced)
    else:
        yield from misplaced
    yield from _find_misled_identities(site_id)


def _find_misplaced_conversions(site_id: int | None) -> Iterator[Difference]:
    user, anonymous = int(Identity.Kind.USER), int(Identity.Kind.ANONYMOUS)
    by = {rule.name.lower(): int(rule) for rule in Conversion.KeyedBy}
    strangers = stream(
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
        "A conversion counts for another visitor than the first one of its anonymous id, its user id or a device of "
        "that user: a late link did not take it along. Please report it as a defect, with the lines of these messages "
        "in the inbox. `manage.py rekey --again` re-keys it."
    )
    for id_, key in strangers:
        yield Difference(meaning, f"conversion {id_} ({key})")


def _find_untold_users(site_id: int | None) -> Iterator[Difference]:
    """Users whose devices have earlier visitor codes than they know, and owners without a link."""
    user, anonymous = int(Identity.Kind.USER), int(Identity.Kind.ANONYMOUS)
    stamp = '({0} ->> 0)::bigint, ({0} ->> 3) COLLATE "C", ({0} ->> 1)::bigint, ({0} ->> 2) COLLATE "C"'
    untold = stream(
        f"""
        SELECT DISTINCT u.id
          FROM cohorts_link l
          JOIN cohorts_identity d ON d.site_id = l.site_id AND d.kind = l.kind AND d.value = l.value
          JOIN cohorts_identity u ON u.site_id = l.site_id AND u.kind = {user} AND u.value = l.user_value
         CROSS JOIN LATERAL (VALUES (d.registers -> 'visitor'), (d.registers -> 'device_visitor')) AS its (register)
         WHERE {of_site("l.site_id")} AND its.register IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM api_latelink t
                            WHERE t.site_id = l.site_id AND t.kind = l.kind AND t.value = l.value
                              AND l.user_value > t.users_after)
           AND (NOT u.registers ? 'device_visitor'
                OR ({stamp.format("its.register")}) < ({stamp.format("(u.registers -> 'device_visitor')")}))
         UNION ALL
        SELECT i.id FROM cohorts_identity i
         WHERE {of_site("i.site_id")} AND i.kind IN ({user}, {anonymous}) AND i.registers ? 'user'
           -- The marker of somebody who was erased (api.erasure.erase) is nobody's id.
           AND i.registers #>> '{{user,3}}' NOT LIKE 'erased:%%' AND NOT EXISTS (
               SELECT 1 FROM cohorts_link l
                WHERE l.site_id = i.site_id AND l.kind = i.kind AND l.value = i.value
                  AND l.user_value = i.registers #>> '{{user,3}}')
        """,
        {"site": site_id},
    )
    meaning = (
        "A user does not know the first visitor code of a device that was linked to it, or the link itself is missing: "
        "please report it as a defect. `manage.py rekey --again` adds it."
    )
    for (id_,) in untold:
        yield Difference(meaning, f"identity {id_}")


def _find_misled_identities(site_id: int | None) -> Iterator[Difference]:
    user, anonymous = int(Identity.Kind.USER), int(Identity.Kind.ANONYMOUS)
    lost_ones = stream(
        f"""
        SELECT i.id FROM cohorts_identity i
         WHERE {of_site("i.site_id")} AND (i.parent_kind, i.parent_value) IS DISTINCT FROM (
               CASE WHEN i.registers ? 'user' THEN {user} WHEN i.registers ? 'anonymous' THEN {anonymous} END,
               coalesce(i.registers #>> '{{user,3}}', i.registers #>> '{{anonymous,3}}'))
        """,
        {"site": site_id},
    )
    meaning = (
        "An identity's parent columns contradict its registers, so remote data misses what is known of its person: "
        "its row was changed by hand. Set parent_kind and parent_value to what the register `user`, else `anonymous`, "
        "says."
    )
    for (id_,) in lost_ones:
        yield Difference(meaning, f"identity {id_}")


def check_quota(site_id: int | None, figures: Figures) -> Iterator[Difference]:
    """No window of a site's ledger ever held more than its limits, which count since they were changed last; and
    every goal that an event made is in the ledger.
    """
    sites = Site.objects.order_by("id")
    for site in sites.filter(pk=site_id) if site_id is not None else sites:
        yield from _check_windows(site)
        made = Goal.objects.filter(site=site, origin=Goal.Origin.EVENT).count()
        noted = GoalCreation.objects.filter(site=site).count()
        figures["made"] += made
        figures["creations"] += noted
        if made > noted:
            meaning = (
                "Events made more goals than the ledger holds, so some did not count against the quota: rows of "
                "goals_goalcreation were deleted, or goals inserted, by hand."
            )
            yield Difference(meaning, f"site {site.sitecode}: {made} goals, {noted} creations")


def _check_windows(site: Site) -> Iterator[Difference]:
    since = last_change(site.pk, ("goals_per_10_seconds", "goals_per_hour"))
    ledger = GoalCreation.objects.filter(site=site, **({"created_at__gt": since} if since else {}))
    for window in quota.build_windows(per_10_seconds=site.goals_per_10_seconds, per_hour=site.goals_per_hour):
        times = ledger.order_by("created_at").values_list("created_at", flat=True)
        most, begin = quota.find_peak(times.iterator(chunk_size=2_000), window.span)
        if most > window.limit:
            meaning = (
                "Events made more goals than the site's present limits allow. If a limit was lowered, other than in "
                "the admin, this was before; else please report it as a defect."
            )
            seconds = window.span.total_seconds()
            row = f"site {site.sitecode}: {most} goals instead of {window.limit} in the {seconds:.0f} s from {begin}"
            yield Difference(meaning, row)

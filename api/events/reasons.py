"""Closed lists: the reasons for a message's status, and the warnings about messages that were processed.

Everything else derives from these lists: what can be retried or derived again, and the API's documentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from api.events.types import TYPES


@dataclass(frozen=True, slots=True)
class Reason:
    """The reason for a message's status, with its sentence for people."""

    code: str
    status: Literal["rejected", "failed", "deferred", "done"]
    sentence: str
    is_replayable: bool = False  # a retry may end in another status
    is_safe_to_derive: bool = True  # deriving the message again cannot end or hold up the process, and has its body
    is_drop: bool = False  # the message was done without applying what it says
    is_of_request: bool = False  # a whole request was rejected, so the type of its events may be unknown


REASONS: Final[Mapping[str, Reason]] = {
    reason.code: reason
    for reason in (
        # Rejected on arrival, after authentication. Another version may read what this one could not.
        Reason(
            "invalid_json",
            "rejected",
            "The body is not JSON, or not an object. Send one JSON event, or an array of events.",
            is_replayable=True,
            is_of_request=True,
        ),
        Reason(
            "unreadable_encoding",
            "rejected",
            "The body's Content-Encoding is not gzip or deflate, or the body does not match it. The body is kept; a "
            "retry processes what this version can read.",
            is_replayable=True,
            is_of_request=True,
        ),
        Reason(
            "invalid_event",
            "rejected",
            f"The event has no type and none can be inferred. Send `type`: {', '.join(TYPES[:-1])} or {TYPES[-1]}.",
            is_replayable=True,
            is_of_request=True,
        ),
        Reason(
            "too_large",
            "rejected",
            "An event may have 1,048,576 bytes, a batch 4 MiB and 4,000 events. The first 4,096 bytes are kept.",
        ),
        Reason(
            "integration_off",
            "rejected",
            "The site's Segment destination is switched off. Switch it on, then retry or send again.",
            is_replayable=True,
            is_of_request=True,
        ),
        Reason(
            "source_off",
            "rejected",
            "The source is switched off. Switch it on, then retry or send again.",
            is_replayable=True,
            is_of_request=True,
        ),
        Reason(
            "invalid_line",
            "rejected",
            "A line of an SDK that means nothing; the detail says which line, and why. Other lines were taken.",
        ),
        # Rejected by the digest: the sender must change something.
        Reason(
            "no_identity",
            "rejected",
            "The event names no person. Send userId, anonymousId or a visitor code.",
            is_replayable=True,
        ),
        Reason("missing_name", "rejected", "A track event needs an event name.", is_replayable=True),
        Reason("name_too_long", "rejected", "The event name is longer than 500 characters.", is_replayable=True),
        Reason("missing_group_id", "rejected", "A group event needs a groupId.", is_replayable=True),
        Reason("missing_previous_id", "rejected", "An alias event needs previousId and userId.", is_replayable=True),
        Reason(
            "unknown_goal",
            "rejected",
            "No live goal of the site has the id in `goalId`. Create or restore it, or correct the id, then retry.",
            is_replayable=True,
        ),
        Reason(
            "unreadable_body",
            "rejected",
            "The body was accepted but could not be read in full.",
            is_replayable=True,
        ),
        # Failed: an operator must fix the cause.
        Reason(
            "digest_failed",
            "failed",
            "Processing failed repeatedly; see the error on the event. Fix the cause, then retry.",
            is_replayable=True,
        ),
        Reason(
            "worker_died",
            "failed",
            "Processing it crashed the worker repeatedly.",
            is_replayable=True,
            is_safe_to_derive=False,
        ),
        Reason(
            "transform_failed",
            "failed",
            "The transform hook raised; see the error on the event. Fix it, then retry.",
            is_replayable=True,
            is_safe_to_derive=False,
        ),
        Reason(
            "goal_backlog_full",
            "failed",
            "Too many new goal names are queued. Set a rule for these events, then retry.",
            is_replayable=True,
        ),
        # Deferred: `sentence_of` adds the site's figures.
        Reason("goal_quota", "deferred", "Its goal waits for the site's limit of new goals."),
        # Done without effect.
        Reason("already_known", "done", "Nothing changed: already known."),
        Reason("already_converted", "done", "This event had converted before."),
        Reason("no_persona", "done", "The audience event names no persona."),
        Reason("no_trait", "done", "The computed-trait event names no trait."),
        Reason("dropped_by_rule", "done", "Ignored by a rule; see its reason on the event.", is_drop=True),
        Reason("dropped_by_transform", "done", "The transform hook returned None for it.", is_drop=True),
        Reason("no_goal_by_rule", "done", "A rule lets it make no goal, and it says nothing else that is new."),
        Reason(
            "suppressed",
            "done",
            "It names an erased person: it was dropped, and its body was not kept.",
            is_safe_to_derive=False,
        ),
        Reason(
            "excluded_by_sender",
            "done",
            "Its sender excludes it by `integrations`: All is false without Goalpost or Kameleoon being true, or one "
            "of these is false. It was kept and did nothing.",
            is_drop=True,
        ),
        Reason(
            "track_not_taken",
            "done",
            "Its source takes no track events, because another source sends the same.",
            is_drop=True,
        ),
    )
}


def codes_of(status: str) -> frozenset[str]:
    """Return the codes of the reasons that a message of this status may have."""
    return frozenset(reason.code for reason in REASONS.values() if reason.status == status)


REPLAYABLE: Final = frozenset(reason.code for reason in REASONS.values() if reason.is_replayable)
DROPS: Final = frozenset(reason.code for reason in REASONS.values() if reason.is_drop)
UNSAFE_TO_DERIVE: Final = frozenset(reason.code for reason in REASONS.values() if not reason.is_safe_to_derive)


class HasLimits(Protocol):
    """A site, as far as sentences need it."""

    goals_per_10_seconds: int
    goals_per_hour: int


def sentence_of(code: str, site: HasLimits | None = None) -> str:
    """Return the sentence of a reason, with the site's own limits if it is given; the code itself if it is unknown."""
    reason = REASONS.get(code)
    if reason is None:
        return code
    if code == "goal_quota" and site is not None:
        limits = f"{site.goals_per_10_seconds:,} in any 10 seconds and {site.goals_per_hour:,} in any hour"
        return f"{reason.sentence.removesuffix('.')}: {limits}."
    return reason.sentence


WARNINGS: Final[Mapping[str, str]] = {
    "invalid_timestamp": "The timestamp cannot be read; the time of receipt is used.",
    "future_timestamp": "The timestamp is more than 5 minutes ahead; the time of receipt is used.",
    "clock_corrected": "The sender's clock was off by more than 60 seconds; the time is corrected by sentAt.",
    "long_message_id": "The messageId is longer than 255 characters; its SHA-256 replaces it.",
    "unreadable_message_id": "The messageId is not a string or a number; it is ignored.",
    "placeholder_id": "An identifier is a placeholder, such as `null`, `unknown`, `{{userId}}` or zeros. It is "
    "ignored, because strangers who share it would become one person.",
    "placeholder_message_id": "The messageId is a placeholder such as `undefined`; it is ignored, and each delivery "
    "counts.",
    "unreadable_id": "An identifier is not a string or a number, or is longer than 255 characters; it is ignored.",
    "unreadable_name": "The event name is not a string or a number; it is ignored.",
    "unreadable_properties": "`properties`, `traits` or `context` is not an object; it is ignored.",
    "number_out_of_range": "A number exceeds what JSON readers can hold, or is too long without its exponent. It is "
    "kept as its text.",
    "replaced_characters": "NUL characters or lone surrogates are replaced by U+FFFD in derived values.",
    "invalid_revenue": "The revenue is not a plain decimal number; the conversion has none.",
    "invalid_value": "The value is not a plain decimal number; the conversion has none.",
    "unknown_currency": "The currency is not an ISO 4217 code; the revenue is kept under XXX.",
    "archived_goal": "The event converted an archived goal.",
    "long_custom_data": "The values of a custom data index have more than 4,096 bytes as JSON or 256 elements. They "
    "are in the visit, but not kept of the person.",
    "many_custom_data": "A person keeps the 500 newest values of custom data; an older one is left out.",
    "long_persona": "The persona's name is longer than 255 characters or 500 bytes; it is ignored.",
    "long_trait": "The name of a trait is longer than 255 bytes, or its value has more than 4,096 bytes as JSON or 256 "
    "elements. The trait is left out; conversions keep all of their properties. Send less.",
    "many_traits": "A person or group keeps the 500 traits with the newest values, removed ones among them. An older "
    "one is left out. Send fewer different names, and put what varies into values.",
    "many_personas": "A person keeps the 300 personas with the newest values; an older one is left out.",
    "unlisted_persona": "The site has 2,000 personas already. This one is in the remote data of its members, but not "
    "in `common`, on pages or in the history. Remove unused personas; later events then add it.",
    "odd_exposure": "The event says which variation was seen, but names no experiment or no variation. Send both as "
    "texts of up to 255 characters.",
    "many_experiments": "The site has 1,000 experiments already, or this one 100 variations. The exposure is kept. "
    "Archive experiments that have ended; a later exposure then makes this one.",
    "rule_not_applied": "A rule could not rename the event: a field of its template is missing or not text.",
    "odd_trait": "A reserved trait has another type than Segment's specification says; it is kept as sent.",
    "username_taken": "Another user of the site has the same username; the two are not merged.",
    "twin": "Another source sent the same event of the same visitor within 5 seconds; the detail names both.",
    "visitor_moved": "The visitor code was linked to another user before; it points at this one from now on.",
}

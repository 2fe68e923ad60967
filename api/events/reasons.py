"""The closed lists of reason codes: why a message has its status, and what was odd about it. Each with its sentence."""

from typing import Final, Protocol

# Why a message was rejected or is dead.
FAILURES: Final[dict[str, str]] = {
    # Refused at the door after authentication, kept.
    "invalid_json": "The body is not JSON, or not an object. Send one JSON event, or an array of events.",
    "unreadable_encoding": "The body's Content-Encoding is not gzip or deflate, or the body is not what it says. What "
    "came is kept; what can be read by now is taken when it is replayed.",
    "invalid_event": "The event has no type and none can be inferred. Send `type`: track, page, screen, identify, "
    "group or alias.",
    "too_large": "An event may have 1,048,576 bytes, a batch 4 MiB and 4,000 events. The first 4,096 bytes are kept.",
    "integration_off": "The site's Segment destination is switched off. Switch it on, then send again or replay.",
    "source_off": "The source is switched off. Switch it on, then send again or replay.",
    # Rejected by the digest: the sender must change something.
    "no_identity": "The event names nobody: no usable userId, anonymousId or visitor code.",
    "missing_name": "A track event needs an event name.",
    "name_too_long": "The event name is longer than 500 characters.",
    "missing_group_id": "A group event needs a groupId.",
    "missing_previous_id": "An alias event needs previousId and userId.",
    "unreadable_body": "The body passed the door but could not be read in full.",
    # A person must look.
    "digest_failed": "The digest of this message failed repeatedly; the detail holds the traceback.",
    "worker_died": "This message was in hand each time its worker died.",
    "transform_failed": "The transform hook raised on it; the detail holds the traceback. Mend it, then replay.",
    "goal_backlog_full": "Too many new goal names wait for quota. Set a rule for these events, then replay.",
}

# Why a message waits, or was done without effect.
IDLE: Final[dict[str, str]] = {
    "goal_quota": "Its goal waits for the site's limit of new goals.",
    "already_known": "Everything it says was known.",
    "already_converted": "This message had converted before.",
    "no_persona": "An audience event that names no persona.",
    "no_trait": "A computed-trait event that names no trait.",
    "dropped_by_rule": "A rule says to ignore it; the detail holds the rule's reason.",
    "dropped_by_transform": "The transform hook returned nothing for it.",
    "no_goal_by_rule": "A rule says that it makes no goal, and everything else it says was known.",
    "suppressed": "It names somebody who was erased: it was dropped, and its body was not kept.",
    "excluded_by_sender": "Its `integrations` say that its sender does not want it here: All is false without Goalpost "
    "or Kameleoon being true, or one of these is false. It was kept and did nothing.",
    "track_not_taken": "Its source is told to take no track events, because another source sends the same.",
}

REASONS: Final[dict[str, str]] = {**FAILURES, **IDLE}
# Why a message was done without being read.
DROPS: Final = frozenset({"dropped_by_rule", "dropped_by_transform", "track_not_taken", "excluded_by_sender"})


class HasLimits(Protocol):
    """A site."""

    goals_per_10_seconds: int
    goals_per_hour: int


def sentence_of(reason: str, site: HasLimits) -> str:
    """Return the sentence of a reason, with the site's own figures; the code itself if it is unknown."""
    if reason == "goal_quota":
        most = f"{site.goals_per_10_seconds:,} in any 10 seconds and {site.goals_per_hour:,} in any hour"
        return f"Its goal waits for the site's limit of new goals: {most}."
    return REASONS.get(reason, reason)


# What was odd about a message that was taken all the same.
WARNINGS: Final[dict[str, str]] = {
    "invalid_timestamp": "The timestamp cannot be read; the time of receipt is used.",
    "future_timestamp": "The timestamp is more than 5 minutes ahead; the time of receipt is used.",
    "clock_corrected": "The sender's clock was off by more than 60 seconds; the time is corrected by sentAt.",
    "long_message_id": "The messageId is longer than 255 characters; its SHA-256 stands in for it.",
    "unreadable_message_id": "The messageId is not a string or a number; it is ignored.",
    "placeholder_id": "An identifier is a placeholder, such as `null`, `unknown`, `{{userId}}` or zeros; it counts as "
    "absent, because strangers who share it would become one person.",
    "placeholder_message_id": "The messageId is a placeholder such as `undefined`; it is ignored, and each delivery "
    "counts.",
    "unreadable_id": "An identifier is not a string or a number, or is longer than 255 characters; it is ignored.",
    "unreadable_name": "The event name is not a string or a number; it is ignored.",
    "unreadable_properties": "`properties`, `traits` or `context` is not an object; it is ignored.",
    "number_out_of_range": (
        "A number is beyond what JSON readers can hold, or too long when it is written out without its exponent: it "
        "is kept as its text."
    ),
    "replaced_characters": "NUL characters or lone surrogates are replaced by U+FFFD in derived values.",
    "invalid_revenue": "The revenue is not a plain decimal number; the conversion has none.",
    "invalid_value": "The value is not a plain decimal number; the conversion has none.",
    "unknown_currency": "The currency is not an ISO 4217 code; the revenue is kept under XXX.",
    "archived_goal": "The event converted an archived goal.",
    "long_persona": "The persona's name is longer than 255 characters or 500 bytes; it is ignored.",
    "long_trait": "The name of a trait is longer than 255 bytes, or its value has more than 4,096 bytes as JSON "
    "or 256 elements; the trait is left out. Send less. Conversions keep the whole of their properties.",
    "many_traits": "A person or group keeps the 500 traits that events said last, removed ones among them; one that "
    "was said longer ago is left out. Send fewer different names, and put what varies into values.",
    "many_personas": "A person keeps the 300 personas that events said last; one that was said longer ago is left out.",
    "unlisted_persona": "The site has 2,000 personas, so this one is in the remote data of its members, but not in "
    "`common`, on pages or in the history. Remove personas that nobody needs; later events then add it.",
    "rule_not_applied": "A rule could not rename the event: a field of its template is missing or no text.",
    "odd_trait": "A reserved trait is of another type than Segment's specification says; it is kept as sent.",
    "username_taken": "Another user of the site has the same username; nothing is merged by it.",
    "twin": "Another source sent the same event of the same visitor within 5 seconds; the detail names both.",
    "visitor_moved": "The visitor code was linked to another user before; it points at this one from now on.",
}

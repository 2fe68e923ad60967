"""Answers, in sentences, why a person has or has not converted a goal.

The newest 10,000 messages of the site are searched for the person, and derived as the digest does. Older messages
leave only their conversions.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Max, OuterRef, Q, Subquery, Sum, Value, prefetch_related_objects
from django.db.models.functions import JSONObject

from api.digest.site_config import SiteConfig, load_site_config
from api.events.reasons import sentence_of
from api.http.wording import count_of
from api.insight.person_messages import (
    MOST_READ,
    SEARCHED_MESSAGES,
    PersonMessage,
    PersonMessages,
    find_person_messages,
)
from api.models import Message, Site
from cohorts.models import Identity
from cohorts.queries import find_person, visitor_codes
from goals import recording, waiting
from goals.matching import EventName
from goals.models import Conversion, Goal, GoalVisitor, WaitingName
from goals.naming import EVENT_NAME_LENGTH, GOAL_TYPES, parse_goal_name
from goals.shown_names import show_goal_name

MOST_LISTED: Final = 5  # messages, names or visitors of a kind
Status = Message.Status


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the answer, and the messages that it is about."""

    code: str  # stable, for programs
    text: str
    mood: str = ""  # good, warn, bad, or empty
    messages: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class WhyNotAnswer:
    """Sentences of an answer; the first says yes or no, the others why."""

    has_converted: bool
    sentences: list[Sentence]


def why_not(site: Site, id_: str, goal: Goal) -> WhyNotAnswer:
    """Answer why the person of an id has or has not converted a goal. Eight queries."""
    person = find_person(site.pk, [id_])
    ids = {identity.value for identity in person} or {id_}
    prefetch_related_objects([site], "sources", "rules")
    config = load_site_config(site)
    question = _Question(
        site=site, config=config, goal=goal, person=person, ids=ids, found=find_person_messages(config, ids)
    )
    sentences = [
        *question.answer(),
        *question.describe_person(),
        *question.describe_messages(),
        *question.describe_goal(),
    ]
    return WhyNotAnswer(question.total > 0, sentences)


def why_waiting(site: Site, id_: str, name: WaitingName) -> WhyNotAnswer:
    """Answer why there is no conversion yet of a goal whose name is queued for the new-goal limit.

    Without an id the answer is about the name alone. Four queries, and with an id those of `why_not`.
    """
    before = waiting.count_before(name, most=SEARCHED_MESSAGES)
    events = Message.objects.filter(site=site, status=Status.DEFERRED, waiting_for=name.name)[
        :SEARCHED_MESSAGES
    ].count()
    limits = f"{site.goals_per_10_seconds:,} in any 10 seconds and {site.goals_per_hour:,} in any hour"
    sentences = [
        Sentence(
            "waiting_name",
            f"No goal is called “{name.name}” yet. Since {_format_time(name.created_at)} its name is queued for the "
            f"new-goal limit of this site, {limits}. Ahead in the queue: {count_of(before, 'name')}.",
            "warn",
        ),
        Sentence(
            "waiting_events",
            f"{events:,} {'event waits' if events == 1 else 'events wait'} with it. The goal is created when its turn "
            "comes. Then they convert it with their own times. Owners can raise the limit in the settings.",
        ),
    ]
    if id_:
        ids = {identity.value for identity in find_person(site.pk, [id_])} or {id_}
        prefetch_related_objects([site], "sources", "rules")
        event = EventName(name.event_type, name.event_name)
        found = find_person_messages(load_site_config(site), ids)
        waits = [message for message in found.messages if message.status == Status.DEFERRED and message.event == event]
        text = f"{_count(waits)} of this person {'waits' if len(waits) == 1 else 'wait'} among them."
        if not waits:
            text = f"None of them is of this person, among the newest {count_of(found.searched, 'message')}."
        sentences.append(Sentence("waiting_messages", text, "" if waits else "bad", _ids(waits)))
    return WhyNotAnswer(False, sentences)  # noqa: FBT003 - of a dataclass


class _Question:
    """One person and one goal, with everything that the answer needs. Two queries."""

    def __init__(
        self,
        *,
        site: Site,
        config: SiteConfig,
        goal: Goal,
        person: Sequence[Identity],
        ids: set[str],
        found: PersonMessages,
    ) -> None:
        self.site, self.config, self.goal, self.person, self.ids = site, config, goal, person, ids
        self.messages, self.searched = found.messages, found.searched
        self.codes = visitor_codes(person)
        kept = GoalVisitor.objects.filter(site=site, goal=OuterRef("pk"), visitor_code__in=self.codes).values("goal")
        members = list(
            Goal.objects.filter(Q(pk=goal.pk) | Q(counts_for=goal.pk), site=site, deleted_at=None).annotate(
                total=Subquery(kept.annotate(sum=Sum("conversions")).values("sum")),
                last_at=Subquery(kept.annotate(max=Max("last_at")).values("max")),
                bound=ArrayAgg(
                    JSONObject(type="bindings__event_type", name="bindings__event_name"),
                    filter=Q(bindings__isnull=False),
                    default=Value([]),
                ),
            )
        )
        self.members = {member.pk for member in members}
        self.total = sum(member.total or 0 for member in members)
        self.last_at = max((member.last_at for member in members if member.last_at), default=None)
        named = list(
            dict.fromkeys(event for member in members for event in _list_event_names(member, config.policy.template))
        )
        events = {event for row in found.messages for event in (row.event, row.unruled_event) if event is not None}
        known = recording.find_goals_of_events(
            site.pk, sorted({*named, *events}, key=str), template=config.policy.template
        )
        self.matching = {event for event, match in known.items() if match.id in self.members}
        self.event_names = [event for event in named if event in self.matching]

    def answer(self) -> Iterator[Sentence]:
        name = f"“{show_goal_name(self.goal, template=self.config.policy.template)}”"
        if self.total:
            count = "One conversion" if self.total == 1 else count_of(self.total, "conversion")
            verb = "counts" if self.total == 1 else "count"
            yield Sentence(
                "converted",
                f"Yes. {count} of {name} {verb} for this person, the last at {_format_time(self.last_at)}.",
                "good",
            )
        else:
            yield Sentence("not_converted", f"No conversion of {name} counts for this person.", "bad")

    def describe_person(self) -> Iterator[Sentence]:
        if not self.person:
            yield Sentence(
                "unknown_person",
                "No person has this identifier: no accepted event named it. Identifiers must match exactly.",
                "warn",
            )
            return
        kinds = Counter(identity.get_kind_display() for identity in self.person)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        yield Sentence("known_person", f"This person has {count_of(len(self.ids), 'identifier')} ({counts}).")
        if len(self.person) == 1 and self.person[0].kind != Identity.Kind.USER:
            yield Sentence(
                "not_linked",
                "The identifier is not linked to a user, so events under another identifier do not count here. An "
                "event with both makes the link.",
                "warn",
            )

    def describe_messages(self) -> Iterator[Sentence]:
        """Yield what became of the messages that name the person."""
        if not self.messages:
            if not self.total:
                yield Sentence(
                    "no_messages",
                    f"None of the newest {count_of(self.searched, 'message')} of this site names this person. "
                    "Check that the source is sending this identifier.",
                    "bad",
                )
            return
        leading = [message for message in self.messages if message.event in self.matching]
        yield Sentence(
            "messages",
            f"{len(self.messages):,} of the latest {count_of(self.searched, 'event')} "
            f"{'is' if len(self.messages) == 1 else 'are'} this person's; "
            f"{len(leading):,} {'matches' if len(leading) == 1 else 'match'} this goal.",
            "",
            _ids(leading),
        )
        yield from self._leading(leading)
        yield from self._kept_away()
        yield from self._failed([message for message in self.messages if message.event not in self.matching])
        if not leading:
            yield from self._other_names()

    def _leading(self, leading: Sequence[PersonMessage]) -> Iterator[Sentence]:
        yield from self._elsewhere([message for message in leading if message.has_converted])
        pending = [message for message in leading if message.status == Status.PENDING]
        if pending:
            yield Sentence(
                "pending", f"{_count(pending)} {_be(pending)} queued. Look again in a moment.", "warn", _ids(pending)
            )
        yield from self._deferred([message for message in leading if message.status == Status.DEFERRED])
        yield from self._failed(leading)
        idle = [message for message in leading if message.status == Status.DONE and not message.has_converted]
        for reason, messages in _by_reason(idle).items():
            text = (
                sentence_of(reason) or "It had another effect, because the site’s rules or goals were different then."
            )
            yield Sentence(
                "done_without_conversion",
                f"{_count(messages)} {_be(messages)} processed without a conversion. {text}",
                "warn",
                _ids(messages),
            )

    def _elsewhere(self, converted: Sequence[PersonMessage]) -> Iterator[Sentence]:
        """Yield conversions that count for another visitor or another goal. One query."""
        other_goal = [message for message in converted if message.goal_id not in self.members]
        if other_goal:
            text = f"{_count(other_goal)} converted another goal, because the name led there at that time."
            yield Sentence("another_goal", text, "warn", _ids(other_goal))
        by_key = {message.key: message for message in converted if message.goal_id in self.members}
        if not by_key:
            return
        conversions = Conversion.objects.filter(site=self.site, message_key__in=by_key).defer("properties")
        conversions = conversions.exclude(visitor_code__in=self.codes)[:MOST_READ]
        others = {conversion.visitor_code: by_key[conversion.message_key].id for conversion in conversions}
        for code, message_id in list(others.items())[:MOST_LISTED]:
            text = (
                f"A conversion counts for the visitor “{code}”, who is not linked to this person. The event’s own "
                "visitor code comes first, and no later event linked the two."
            )
            yield Sentence("another_visitor", text, "bad", [message_id])

    def _deferred(self, deferred: Sequence[PersonMessage]) -> Iterator[Sentence]:
        """Yield the place in the queue of the goal's name. Two queries."""
        if not deferred:
            return
        name = WaitingName.objects.filter(site=self.site, has_goal=False, name=self.goal.name).first()
        place = ""
        if name is not None:
            place = f" Names ahead in the queue: {waiting.count_before(name, most=SEARCHED_MESSAGES):,}."
        yield Sentence(
            "deferred",
            f"{_count(deferred)} {_be(deferred)} queued. {sentence_of('goal_quota', self.site)}{place}",
            "warn",
            _ids(deferred),
        )

    def _kept_away(self) -> Iterator[Sentence]:
        """Yield messages that would lead here without a rule, the transform hook or their source."""
        kept = [
            message
            for message in self.messages
            if message.unruled_event in self.matching and message.event not in self.matching
        ]
        by_cause: dict[str, list[PersonMessage]] = {}
        names_of_rules = {rule.pk: str(rule) for rule in self.site.rules.all()} if kept else {}
        for message in kept:
            rules = "”, “".join(names_of_rules.get(id_, f"rule {id_}") for id_ in message.fired)
            if message.idle_reason == "track_not_taken":
                cause = "come through a source that takes no track events"
            elif message.idle_reason == "excluded_by_sender":
                cause = "are excluded by their sender with `integrations`"
            elif message.idle_reason == "dropped_by_rule":
                cause = f"are ignored by the rule “{rules}”: {message.detail}"
            elif message.idle_reason == "no_goal_by_rule":
                cause = f"make no goal and no conversion by the rule “{rules}”"
            else:
                cause = f"are changed by the rule “{rules}”"
            by_cause.setdefault(cause, []).append(message)
        for cause, messages in by_cause.items():
            yield Sentence("kept_away", f"{_count(messages)} would lead here, but {cause}.", "bad", _ids(messages))

    def _failed(self, messages: Iterable[PersonMessage]) -> Iterator[Sentence]:
        failed = [message for message in messages if message.status in {Status.REJECTED, Status.FAILED}]
        for reason, rows in _by_reason(failed).items():
            verb = f"{_be(rows)} rejected" if rows[0].status == Status.REJECTED else "failed"
            yield Sentence(rows[0].status, f"{_count(rows)} {verb}. {sentence_of(reason)}", "bad", _ids(rows))

    def _other_names(self) -> Iterator[Sentence]:
        """Yield the names that this person sent instead, and those that nearly match."""
        sent = Counter(message.unruled_event for message in self.messages if message.unruled_event is not None)
        folded = {(event.type, _fold(event.name)) for event in self.event_names}
        for event in sent:
            if event in self.matching or (event.type, _fold(event.name)) not in folded:
                continue
            yield Sentence(
                "nearly_the_name",
                f"“{event.name}” was sent {_times(sent[event])} and nearly matches. Names must match exactly, with "
                "case and spaces.",
                "bad",
            )
        most = sent.most_common(MOST_LISTED)
        if most:
            names = ", ".join(f"“{event.name}” ({event.type}, {_times(count)})" for event, count in most)
            yield Sentence("other_names", f"They sent: {names}.")

    def describe_goal(self) -> Iterator[Sentence]:
        """Yield the events that the goal counts, and the sources that send none."""
        names = ", ".join(f"“{event.name}” ({event.type})" for event in self.event_names[:MOST_LISTED])
        if not self.event_names:
            yield Sentence("no_names", "No event name leads to this goal. Link one on its page.", "bad")
        else:
            yield Sentence("names", f"This goal counts: {names}{', …' if len(self.event_names) > MOST_LISTED else ''}.")
        if not self.goal.has_multiple_conversions:
            yield Sentence(
                "once_a_visit",
                "The goal counts once per visit: more conversions in one visit count as one in its headline.",
            )
        if self.goal.archived_at is not None:
            yield Sentence("archived", "The goal is archived. It still counts conversions.", "warn")
        for source in self.site.sources.all():
            if not source.is_enabled:
                yield Sentence(
                    "source_off", f"The source “{source.name}” is switched off: what it sends is rejected.", "warn"
                )
            elif not source.takes_track:
                yield Sentence("takes_no_track", f"The source “{source.name}” takes no track events.", "warn")


def _list_event_names(goal: Any, template: str) -> list[EventName]:
    """Return the events that may lead to a goal, with those that a person bound to it. Pure."""
    named = list(parse_goal_name(goal.name, template=template))
    if not goal.is_named_by_event:
        named += [(type_, goal.name) for type_ in GOAL_TYPES]
    bound = [EventName(binding["type"], binding["name"]) for binding in goal.bound]
    return bound + [EventName(type_, name) for type_, name in named if len(name) <= EVENT_NAME_LENGTH]


def _by_reason(messages: Iterable[PersonMessage]) -> Mapping[str, list[PersonMessage]]:
    by_reason: dict[str, list[PersonMessage]] = {}
    for message in messages:
        by_reason.setdefault(message.reason, []).append(message)
    return by_reason


def _ids(messages: Iterable[PersonMessage]) -> list[int]:
    return [message.id for message in messages][:MOST_LISTED]


def _count(messages: Sequence[PersonMessage]) -> str:
    return "One message" if len(messages) == 1 else count_of(len(messages), "message")


def _be(messages: Sequence[PersonMessage]) -> str:
    return "is" if len(messages) == 1 else "are"


def _times(count: int) -> str:
    return "once" if count == 1 else count_of(count, "time")


def _format_time(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"


def _fold(name: str) -> str:
    return "".join(name.casefold().split())

"""Why there is, or is not, a conversion of a goal by a person: in sentences, from the code that digests.

Messages that name the person are looked for in the newest 10,000 of the site; of what is older, conversions tell.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from django.contrib.postgres.aggregates import ArrayAgg
from django.db import connection
from django.db.models import Max, OuterRef, Q, Subquery, Sum, Value, prefetch_related_objects
from django.db.models.functions import JSONObject

from api.digest.derivation import MESSAGE_COLUMNS, Derivation, StoredMessage
from api.digest.mapping import derive
from api.digest.site_config import SiteConfig, load_site_config
from api.events.reasons import UNSAFE_TO_DERIVE, sentence_of
from api.http.wording import count_of
from api.insight.id_search import names, spellings
from api.models import Message, Site
from cohorts.models import Identity
from cohorts.queries import find_person, visitor_codes
from goals import recording, waiting
from goals.matching import EventName
from goals.models import Conversion, Goal, GoalVisitor, WaitingName
from goals.naming import EVENT_NAME_LENGTH, EVENT_TYPES, parse_goal_name

LOOK: Final = 10_000  # messages
LOOK_BYTES: Final = 16_777_216  # of their bodies, from the newest on: 10,000 of 1.6 kB
MOST_READ: Final = 500  # of those that name the person
FEW: Final = 4  # bodies in memory at a time
MOST_TOLD: Final = 5  # messages, names or visitors of a kind
Status = Message.Status


@dataclass(frozen=True, slots=True)
class Sentence:
    """A part of the answer, and the messages it is about."""

    code: str  # for programs
    text: str
    mood: str = ""  # good, warn, bad, or nothing in particular
    messages: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class WhyNotAnswer:
    """The first sentence says whether; the others why."""

    has_converted: bool
    sentences: list[Sentence]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A message that names the person: what became of it, and what it would mean today. It has no body any more."""

    id: int
    key: str
    status: str
    reason: str
    has_converted: bool
    goal_id: int | None
    event: EventName | None  # what it would convert today
    unruled_event: EventName | None  # the same if there were no rules
    idle_reason: str
    detail: str
    fired: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """The newest messages that name the person, and of how many messages these are."""

    messages: int
    seen: list[_Seen]


def why_not(site: Site, id_: str, goal: Goal) -> WhyNotAnswer:
    """Return why there is, or is not, a conversion of a goal by the person of an id. Eight queries."""
    person = find_person(site.pk, [id_])
    ids = {identity.value for identity in person} or {id_}
    prefetch_related_objects([site], "sources", "rules")
    config = load_site_config(site)
    case = _Case(
        site=site,
        config=config,
        goal=goal,
        person=person,
        ids=ids,
        look=_look(config, ids),
    )
    return WhyNotAnswer(case.total > 0, [*case.verdict(), *case.who(), *case.seen_messages(), *case.goal_itself()])


def why_waiting(site: Site, id_: str, name: WaitingName) -> WhyNotAnswer:
    """Return why there is no conversion yet of a goal whose name waits for the limit of new goals.

    Without an id it tells of the name alone. Four queries, and for an id what `why_not` reads.
    """
    before = waiting.count_before(name, most=LOOK)
    events = Message.objects.filter(site=site, status=Status.DEFERRED, waiting_for=name.name)[:LOOK].count()
    limits = f"{site.goals_per_10_seconds:,} in any 10 seconds and {site.goals_per_hour:,} in any hour"
    sentences = [
        Sentence(
            "waiting_name",
            f"No goal is called “{name.name}” yet: since {_say(name.created_at)} its name waits for this site's limit "
            f"of new goals, {limits}. Names before it in the queue: {before:,}.",
            "warn",
        ),
        Sentence(
            "waiting_events",
            f"{events:,} {'event waits' if events == 1 else 'events wait'} with it. The goal is made when its turn "
            "comes, and they convert it with their own times: nothing is lost. Owners raise the limit in the settings.",
        ),
    ]
    if id_:
        ids = {identity.value for identity in find_person(site.pk, [id_])} or {id_}
        prefetch_related_objects([site], "sources", "rules")
        event = EventName(name.event_type, name.event_name)
        look = _look(load_site_config(site), ids)
        its = [each for each in look.seen if each.status == Status.DEFERRED and each.event == event]
        text = f"{_messages(its, verb='')} of this person {'waits' if len(its) == 1 else 'wait'} among them."
        if not its:
            text = f"None of them is of this person, as far as the newest {count_of(look.messages, 'message')} tell."
        sentences.append(Sentence("waiting_messages", text, "" if its else "bad", _ids(its)))
    return WhyNotAnswer(False, sentences)  # noqa: FBT003 - of a dataclass


def _look(config: SiteConfig, ids: set[str]) -> _Look:
    """Find those of the newest messages that name the person, newest first. One query, FEW rows at a time."""
    found: list[_Seen] = []
    messages = looked_at = 0
    with connection.chunked_cursor() as cursor:
        cursor.execute(
            f"""
            WITH newest AS MATERIALIZED (
                SELECT id, sum(size) OVER (ORDER BY id DESC) AS so_far
                  FROM (SELECT id, octet_length(body) AS size FROM api_message
                         WHERE site_id = %(site)s ORDER BY id DESC LIMIT %(look)s) AS m
            ), counted AS (
                SELECT count(*) AS messages, count(*) FILTER (WHERE so_far <= %(most)s) AS looked_at FROM newest
            )
            SELECT {MESSAGE_COLUMNS}, status, reason, effects @> '{{converted}}', goal_id, messages, looked_at
              FROM counted
              LEFT JOIN (
                SELECT m.* FROM newest JOIN api_message m USING (id)
                 WHERE so_far <= %(most)s AND EXISTS (
                       SELECT 1 FROM unnest(%(spellings)s::bytea[]) AS n (spelling)
                        WHERE position(n.spelling IN m.body) > 0)
                 ORDER BY id DESC LIMIT %(read)s
              ) AS found ON true
             ORDER BY id DESC
            """,
            {"site": config.site_id, "look": LOOK, "most": LOOK_BYTES, "spellings": spellings(ids), "read": MOST_READ},
        )
        while rows := cursor.fetchmany(FEW):
            for row in rows:
                *columns, messages, looked_at = row
                seen = None if columns[0] is None else _read(config, ids, columns)
                found += [seen] if seen is not None else []
    # Fewer than LOOK are named only where they are too many bytes: that a site has no more is no bound.
    return _Look(LOOK if looked_at == messages else looked_at, found)


def _read(config: SiteConfig, ids: set[str], row: Sequence[Any]) -> _Seen | None:
    """Return what a message would mean today; None if it names the person in no value."""
    *columns, status, reason, has_converted, goal_id = row
    stored = StoredMessage.of_row(columns)
    if not names(stored.body, ids):
        return None
    effects = unruled = Derivation()
    if reason not in UNSAFE_TO_DERIVE:
        rules = config.for_message(stored)
        effects = derive(stored, rules)
        unruled = derive(stored, replace(rules, rules=(), takes_track=True, heeds_integrations=False))
    return _Seen(
        stored.id,
        stored.key,
        status,
        reason,
        has_converted,
        goal_id,
        event=effects.goal.event if effects.goal else None,
        unruled_event=unruled.goal.event if unruled.goal else None,
        idle_reason=effects.idle_reason,
        detail=effects.detail,
        fired=effects.fired,
    )


class _Case:
    """One person and one goal."""

    def __init__(
        self,
        *,
        site: Site,
        config: SiteConfig,
        goal: Goal,
        person: Sequence[Identity],
        ids: set[str],
        look: _Look,
    ) -> None:
        self.site, self.config, self.goal, self.person, self.ids = site, config, goal, person, ids
        self.seen, self.messages = look.seen, look.messages
        self.codes = visitor_codes(person)
        kept = GoalVisitor.objects.filter(goal=OuterRef("pk"), visitor_code__in=self.codes).values("goal")
        members = list(
            Goal.objects.filter(Q(pk=goal.pk) | Q(counts_for=goal.pk), deleted_at=None).annotate(
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
        named = list(dict.fromkeys(event for member in members for event in _names_of(member, config.policy.template)))
        events = {event for each in look.seen for event in (each.event, each.unruled_event) if event is not None}
        known = recording.find_goals_of_events(
            site.pk, sorted({*named, *events}, key=str), template=config.policy.template
        )
        self.leads = {event for event, found in known.items() if found.id in self.members}
        self.ways_in = [event for event in named if event in self.leads]

    def verdict(self) -> Iterator[Sentence]:
        name = f"“{self.goal.name}”"
        if self.total:
            count = "One conversion" if self.total == 1 else count_of(self.total, "conversion")
            verb = "counts" if self.total == 1 else "count"
            yield Sentence(
                "converted", f"Yes. {count} of {name} {verb} for this person, the last at {_say(self.last_at)}.", "good"
            )
        else:
            yield Sentence("not_converted", f"No conversion of {name} counts for this person.", "bad")

    def who(self) -> Iterator[Sentence]:
        """Whether the person is known, and under how many ids."""
        if not self.person:
            yield Sentence(
                "unknown_person",
                "Nobody is known under this identifier: no event that named it was taken. Identifiers must be exact.",
                "warn",
            )
            return
        kinds = Counter(identity.get_kind_display() for identity in self.person)
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        yield Sentence("known_person", f"This person is known under {count_of(len(self.ids), 'identifier')} ({told}).")
        if len(self.person) == 1 and self.person[0].kind != Identity.Kind.USER:
            yield Sentence(
                "not_linked",
                "The identifier is linked to no user: what this person did under another one is not counted here. An "
                "event that carries both makes the link.",
                "warn",
            )

    def seen_messages(self) -> Iterator[Sentence]:
        """What came of the messages that name the person."""
        if not self.seen:
            if not self.total:
                yield Sentence(
                    "no_messages",
                    f"None of the newest {count_of(self.messages, 'message')} of this site names this person. "
                    "Is the sender on, and does it send this identifier?",
                    "bad",
                )
            return
        leading = [each for each in self.seen if each.event in self.leads]
        yield Sentence(
            "messages",
            f"{len(self.seen):,} of the newest {count_of(self.messages, 'message')} "
            f"{'names' if len(self.seen) == 1 else 'name'} this person; "
            f"{len(leading):,} of them {'has' if len(leading) == 1 else 'have'} a name that leads to this goal today.",
            "",
            _ids(leading),
        )
        yield from self._leading(leading)
        yield from self._kept_away()
        yield from self._failed([each for each in self.seen if each.event not in self.leads])
        if not leading:
            yield from self._other_names()

    def _leading(self, leading: Sequence[_Seen]) -> Iterator[Sentence]:
        yield from self._elsewhere([each for each in leading if each.has_converted])
        pending = [each for each in leading if each.status == Status.PENDING]
        if pending:
            yield Sentence(
                "pending", f"{_messages(pending)} not digested yet: look again in a moment.", "warn", _ids(pending)
            )
        yield from self._deferred([each for each in leading if each.status == Status.DEFERRED])
        yield from self._failed(leading)
        idle = [each for each in leading if each.status == Status.DONE and not each.has_converted]
        for reason, its in _by_reason(idle).items():
            text = sentence_of(reason) or "It did something else: the site’s rules or goals were others then."
            yield Sentence(
                "done_without_conversion", f"{_messages(its)} done without a conversion. {text}", "warn", _ids(its)
            )

    def _elsewhere(self, converted: Sequence[_Seen]) -> Iterator[Sentence]:
        """Conversions that count for somebody else, or for another goal. One query."""
        other_goal = [each for each in converted if each.goal_id not in self.members]
        if other_goal:
            text = "converted another goal: its name led there when it was digested."
            yield Sentence("another_goal", f"{_messages(other_goal, verb='')} {text}", "warn", _ids(other_goal))
        by_key = {each.key: each for each in converted if each.goal_id in self.members}
        if not by_key:
            return
        found = Conversion.objects.filter(site=self.site, message_key__in=by_key).exclude(visitor_code__in=self.codes)
        found = found.defer("properties")
        others = {conversion.visitor_code: by_key[conversion.message_key].id for conversion in found[:MOST_READ]}
        for code, message_id in list(others.items())[:MOST_TOLD]:
            text = (
                f"A conversion counts for the visitor “{code}”, who is not linked to this person: the event’s own "
                "visitor code comes first, and no later event linked the two."
            )
            yield Sentence("another_visitor", text, "bad", [message_id])

    def _deferred(self, deferred: Sequence[_Seen]) -> Iterator[Sentence]:
        """The place in the queue of the goal's name. Two queries."""
        if not deferred:
            return
        name = WaitingName.objects.filter(site=self.site, has_goal=False, name=self.goal.name).first()
        place = ""
        if name is not None:
            place = f" Names before it in the queue: {waiting.count_before(name, most=LOOK):,}."
        yield Sentence(
            "deferred",
            f"{_messages(deferred)} deferred. {sentence_of('goal_quota', self.site)}{place}",
            "warn",
            _ids(deferred),
        )

    def _kept_away(self) -> Iterator[Sentence]:
        """Messages that would lead here, but for a rule, the transform hook or their source."""
        kept = [each for each in self.seen if each.unruled_event in self.leads and each.event not in self.leads]
        by_cause: dict[str, list[_Seen]] = {}
        names_of_rules = {rule.pk: str(rule) for rule in self.site.rules.all()} if kept else {}
        for each in kept:
            rules = "”, “".join(names_of_rules.get(id_, f"rule {id_}") for id_ in each.fired)
            if each.idle_reason == "track_not_taken":
                cause = "come through a source that is told to take no track events"
            elif each.idle_reason == "excluded_by_sender":
                cause = "are excluded by their sender: their `integrations` say that they are not for here"
            elif each.idle_reason == "dropped_by_rule":
                cause = f"are ignored by the rule “{rules}”: {each.detail}"
            elif each.idle_reason == "no_goal_by_rule":
                cause = f"make no goal and no conversion, says the rule “{rules}”"
            else:
                cause = f"are made something else of by the rule “{rules}”"
            by_cause.setdefault(cause, []).append(each)
        for cause, its in by_cause.items():
            yield Sentence("kept_away", f"{_messages(its, verb='')} would lead here, but {cause}.", "bad", _ids(its))

    def _failed(self, among: Iterable[_Seen]) -> Iterator[Sentence]:
        failed = [each for each in among if each.status in {Status.REJECTED, Status.FAILED}]
        for reason, its in _by_reason(failed).items():
            status = its[0].status
            yield Sentence(status, f"{_messages(its)} {status}. {sentence_of(reason)}", "bad", _ids(its))

    def _other_names(self) -> Iterator[Sentence]:
        """What this person sent instead, and whether it was nearly the right name."""
        sent = Counter(each.unruled_event for each in self.seen if each.unruled_event is not None)
        wanted = {(event.type, _loosely(event.name)) for event in self.ways_in}
        for event in [each for each in sent if (each.type, _loosely(each.name)) in wanted and each not in self.leads]:
            yield Sentence(
                "nearly_the_name",
                f"“{event.name}” came {_times(sent[event])}: nearly the name. Names must match exactly, with case and "
                "spaces.",
                "bad",
            )
        most = sent.most_common(MOST_TOLD)
        if most:
            told = ", ".join(f"“{event.name}” ({event.type}, {_times(count)})" for event, count in most)
            yield Sentence("other_names", f"What this person sent instead: {told}.")

    def goal_itself(self) -> Iterator[Sentence]:
        """What leads to the goal, and who may send it."""
        told = ", ".join(f"“{event.name}” ({event.type})" for event in self.ways_in[:MOST_TOLD])
        if not self.ways_in:
            yield Sentence(
                "no_names", "No name of an event is known to lead to this goal: bind one on its page.", "bad"
            )
        else:
            yield Sentence("names", f"What leads to this goal: {told}{', …' if len(self.ways_in) > MOST_TOLD else ''}.")
        if not self.goal.has_multiple_conversions:
            yield Sentence(
                "once_a_visit",
                "The goal counts one conversion a visit: more in one visit count as one in its headline.",
            )
        if self.goal.archived_at is not None:
            yield Sentence("archived", "The goal is archived. Events convert it all the same.", "warn")
        for source in self.site.sources.all():
            if not source.is_enabled:
                yield Sentence(
                    "source_off", f"The source “{source.name}” is switched off: what it sends is rejected.", "warn"
                )
            elif not source.takes_track:
                yield Sentence("takes_no_track", f"The source “{source.name}” is told to take no track events.", "warn")


def _names_of(goal: Any, template: str) -> list[EventName]:
    """The events that may lead to a goal, with those that a person bound to it. Pure."""
    named = list(parse_goal_name(goal.name, template=template))
    if not goal.is_named_by_event:
        named += [(type_, goal.name) for type_ in EVENT_TYPES]
    bound = [EventName(each["type"], each["name"]) for each in goal.bound]
    return bound + [EventName(*each) for each in named if len(each[1]) <= EVENT_NAME_LENGTH]


def _by_reason(seen: Iterable[_Seen]) -> Mapping[str, list[_Seen]]:
    found: dict[str, list[_Seen]] = {}
    for each in seen:
        found.setdefault(each.reason, []).append(each)
    return found


def _ids(seen: Iterable[_Seen]) -> list[int]:
    return [each.id for each in seen][:MOST_TOLD]


def _messages(seen: Sequence[_Seen], *, verb: str = "is") -> str:
    if len(seen) == 1:
        return f"One message {verb}".strip()
    return f"{count_of(len(seen), 'message')} {'are' if verb else ''}".strip()


def _times(count: int) -> str:
    return "once" if count == 1 else count_of(count, "time")


def _say(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"


def _loosely(name: str) -> str:
    return "".join(name.casefold().split())

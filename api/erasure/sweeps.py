"""How each table is freed of the ids of an erased person: theirs is deleted, in what others said a stand-in is put.

A test looks at every column of the database: one that holds texts is swept here, or a receipt says that it is not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

import msgspec
from django.db import IntegrityError, connection, models, transaction

from api.digest.derivation import MESSAGE_COLUMNS, Derivation, SourceConfig, StoredMessage
from api.digest.mapping import derive
from api.digest.site_config import SiteConfig, load_site_config
from api.digest.suppression import find_suppressed
from api.erasure.stand_ins import StandIns
from api.events.encodings import decode
from api.events.envelope import MESSAGE_ID_LENGTH
from api.http.chunks import BODY_BYTES, iter_chunks
from api.insight.id_search import in_other_encodings, names
from api.insight.people import message_ids_of
from api.models import DuplicateSources, Erasure, GoalsChange, LateLink, Load, Message, Removal, Rule, Source
from cohorts import merge, search
from cohorts.models import Group, Identity, Link, Persona, PersonaFact, Username
from goals import quota, totals
from goals.models import Conversion, Goal, GoalBinding, Tag, WaitingName
from goals.naming import parse_goal_name

LINKS: Final = ("user", "anonymous", "visitor", "device_visitor")  # registers that name another identity
LEFT: Final = "left"  # in `Erasure.replaced`: events whose amounts look like the id
EMPTIED: Final = "emptied"  # there too: refused bodies that nobody can search
MOST_DECODED: Final = 4 * 2**20  # bytes of a body, as much as a request may have
UNSEARCHABLE: Final = (
    "Its body was removed when a person was erased: under its Content-Encoding nobody could search it for them."
)

Sweep = Callable[[Erasure, int, int], None]  # the rows of a table whose ids are above one number and at most another
Replace = Callable[[StandIns, Erasure, str], str]  # of a column's text


def stand_ins_of(erasure: Erasure) -> StandIns:
    return StandIns.make(erasure.sought, erasure.marker)


def remove_links(erasure: Erasure) -> None:
    """Delete the links from and to the person's ids, by indexes, and what is left to do of them."""
    links = Link.objects.filter(site_id=erasure.site_id)
    links.filter(kind__in=Identity.Kind.values, value__in=erasure.sought).delete()
    links.filter(user_value__in=erasure.sought).delete()
    late_links = LateLink.objects.filter(site_id=erasure.site_id)
    late_links.filter(kind__in=Identity.Kind.values, value__in=erasure.sought).delete()
    late_links.filter(users_after__in=erasure.sought).update(users_after="")  # a place in an order that it was in


def forget_conversions(erasure: Erasure, conversion_ids: Sequence[int]) -> None:
    """Delete the messages of conversions whose event names the person, and leave of these what figures need."""
    if not conversion_ids:
        return
    keys = Conversion.objects.filter(pk__in=conversion_ids).values_list("message_key", flat=True)
    messages = message_ids_of(erasure.site_id, list(keys))
    erasure.messages += Message.objects.filter(pk__in=messages).delete()[0]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE goals_conversion AS c
               SET visitor_code = %s, keyed_by = 0, user_id = NULL, anonymous_id = NULL, properties = '{}',
                   message_key = 'erased:' || c.id
              FROM (SELECT id, visitor_code FROM goals_conversion WHERE id = ANY(%s) ORDER BY id FOR UPDATE) AS old
             WHERE c.id = old.id
            RETURNING c.id, c.occurred_at, c.goal_id, old.visitor_code, c.visitor_code, c.revenue, c.currency
            """,
            [erasure.marker, list(conversion_ids)],
        )
        erasure.conversions += _count(erasure, cursor.fetchall())


def _count(erasure: Erasure, rows: Sequence[tuple[Any, ...]]) -> int:
    """Have the figures follow conversions that were given to the marker; how many there are."""
    moved = [
        totals.MovedConversion(totals.CountedConversion(id_, (goal, new), at, revenue, currency), (goal, old))
        for id_, at, goal, old, new, revenue, currency in rows
    ]
    totals.count_conversions(erasure.site_id, [], moved)
    return len(rows)


def _note_replaced(erasure: Erasure, what: str, rows: int = 1) -> None:
    if rows:
        erasure.replaced = {**(erasure.replaced or {}), what: (erasure.replaced or {}).get(what, 0) + rows}


# Events


def _sweep_messages(erasure: Erasure, begin: int, end: int) -> None:
    """Delete events of the person, with what they left of their conversions; in others' events put stand-ins."""
    _sweep_encoded_bodies(erasure, begin, end)
    stand_ins = stand_ins_of(erasure)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, octet_length(body) FROM api_message m
             WHERE id > %(begin)s AND id <= %(end)s AND site_id = %(site)s
               AND (EXISTS (SELECT 1 FROM unnest(%(bytes)s::bytea[]) AS n (s) WHERE position(n.s IN m.body) > 0)
                    OR EXISTS (SELECT 1 FROM unnest(%(texts)s::text[]) AS n (s)
                                WHERE position(n.s IN concat_ws(' ', m.message_id, m.detail)) > 0)
                    OR encode(m.body, 'escape') ~ %(odd)s)
             ORDER BY id
            """,
            {
                "begin": begin,
                "end": end,
                "site": erasure.site_id,
                "bytes": [*(each.encode() for each in stand_ins.spellings), *in_other_encodings(stand_ins.spellings)],
                "texts": stand_ins.spellings,
                "odd": stand_ins.odd_spellings,
            },
        )
        sizes = cursor.fetchall()
    if not sizes:
        return
    config = load_site_config(erasure.site)
    for chunk in iter_chunks(sizes):
        _sweep_bodies(erasure, chunk, config, stand_ins)


def _sweep_bodies(erasure: Erasure, message_ids: Sequence[int], config: SiteConfig, stand_ins: StandIns) -> None:
    """Do so with these events, which may name the person."""
    with connection.cursor() as cursor:
        statement = f"SELECT {MESSAGE_COLUMNS}, detail FROM api_message WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
        cursor.execute(statement, [list(message_ids)])
        rows = [(StoredMessage.of_row(row), row[-1]) for row in cursor.fetchall()]
    messages = [message for message, _ in rows]
    derived = [_derive(message, config) for message in messages]
    about = find_suppressed(erasure.site_id, messages, derived)
    for (message, detail), effects in zip(rows, derived, strict=True):
        is_unreadable = effects.rejected == "unreadable_body" and names(message.body, set(erasure.sought))
        if message.id in about or is_unreadable:
            _forget_message(erasure, message)
        else:
            _free_message(erasure, message, effects, detail=detail, config=config, stand_ins=stand_ins)


def _sweep_encoded_bodies(erasure: Erasure, begin: int, end: int) -> None:
    """Delete refused requests that name the person under a Content-Encoding; empty those that nobody can search."""
    kept = Message.objects.filter(site_id=erasure.site_id, pk__gt=begin, pk__lte=end).exclude(content_encoding="")
    sizes = list(kept.order_by("pk").select_for_update().values_list("pk", BODY_BYTES))
    for message in chain.from_iterable(
        Message.objects.filter(pk__in=chunk).order_by("pk") for chunk in iter_chunks(sizes)
    ):
        body = decode(bytes(message.body), message.content_encoding, most=MOST_DECODED)
        if body is None:
            Message.objects.filter(pk=message.pk).update(body=b"", content_encoding="", detail=UNSEARCHABLE)
            _note_replaced(erasure, EMPTIED)
        elif names(body, set(erasure.sought)):
            erasure.messages += Message.objects.filter(pk=message.pk).delete()[0]


def _forget_message(erasure: Erasure, message: StoredMessage) -> None:
    its = Conversion.objects.filter(site_id=erasure.site_id, message_key=message.key)
    forget_conversions(erasure, list(its.values_list("pk", flat=True)))
    erasure.messages += Message.objects.filter(pk=message.id).delete()[0]


def _free_message(
    erasure: Erasure,
    message: StoredMessage,
    effects: Derivation,
    *,
    detail: str,
    config: SiteConfig,
    stand_ins: StandIns,
) -> None:
    """Put stand-ins into an event of somebody else and into its conversion, unless it would count otherwise then."""
    then = _with_stand_ins(config, stand_ins)
    for way in (stand_ins, stand_ins.strict):
        message_id = None if message.message_id is None else way.message_id(message.message_id)
        freed = replace(message, body=way.json(message.body), message_id=message_id)
        if freed == message and stand_ins.prose(detail) == detail:
            return
        if _counts_alike(effects, _derive(freed, then)):
            break
    else:
        _note_replaced(erasure, LEFT)
        return
    freed = _write_message(freed, detail=stand_ins.prose(detail))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, properties::text FROM goals_conversion WHERE site_id = %s AND message_key = %s FOR UPDATE",
            [erasure.site_id, message.key],
        )
        for id_, properties in cursor.fetchall():
            cursor.execute(
                "UPDATE goals_conversion SET properties = %s::jsonb, message_key = %s WHERE id = %s",
                [way.json(properties.encode()).decode(), freed.key, id_],
            )
            _note_replaced(erasure, Erasure.Stage.CONVERSIONS.name)
    _note_replaced(erasure, Erasure.Stage.MESSAGES.name)


def _write_message(message: StoredMessage, *, detail: str) -> StoredMessage:
    """Write an event with its stand-ins and return it, its messageId with its number if another event has that one."""
    row = Message.objects.filter(pk=message.id)
    try:
        with transaction.atomic():
            row.update(body=message.body, message_id=message.message_id, detail=detail)
    except IntegrityError:
        message = replace(message, message_id=f"{message.message_id}:{message.id}"[-MESSAGE_ID_LENGTH:])
        row.update(body=message.body, message_id=message.message_id, detail=detail)
    return message


def _derive(message: StoredMessage, config: SiteConfig) -> Derivation:
    try:
        return derive(message, config.for_message(message))
    except Exception as error:  # noqa: BLE001 - what fails here fails in the digest
        return Derivation(failed="digest_failed", detail=repr(error))


def _with_stand_ins(config: SiteConfig, stand_ins: StandIns) -> SiteConfig:
    """The rules as they will be."""

    def free(rules: SourceConfig) -> SourceConfig:
        return replace(
            rules,
            rules=tuple(
                replace(
                    rule,
                    name_value=stand_ins.text(rule.name_value),
                    path_value=stand_ins.text(rule.path_value),
                    argument=stand_ins.text(rule.argument),
                )
                for rule in rules.rules
            ),
        )

    return replace(config, by_source={source: free(rules) for source, rules in config.by_source.items()})


def _counts_alike(before: Derivation, after: Derivation) -> bool:
    """Whether an event is about the same people and hits a goal for the same money. Pure."""

    def figures(effects: Derivation) -> Any:
        change, goal = effects.change, effects.goal
        return (
            change and (change.user, change.anonymous, change.visitor, change.previous_user),
            goal and (goal.event.type, goal.revenue, goal.currency, goal.value),
            (effects.rejected, effects.failed, effects.idle_reason),
        )

    return bool(figures(before) == figures(after))


# Conversions and identities


def _sweep_conversions(erasure: Erasure, begin: int, end: int) -> None:
    """Forget those that name the person under somebody else's visitor code; put stand-ins into others' properties."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM goals_conversion
             WHERE id > %(begin)s AND id <= %(end)s AND site_id = %(site)s
               AND (user_id = ANY(%(ids)s) OR anonymous_id = ANY(%(ids)s)
                    OR (visitor_code = ANY(%(ids)s) AND keyed_by <> ALL(%(linked)s)))
            """,
            {
                "begin": begin,
                "end": end,
                "site": erasure.site_id,
                "ids": erasure.sought,
                "linked": list(Conversion.LINKED),
            },
        )
        found = [row[0] for row in cursor.fetchall()]
    forget_conversions(erasure, found)
    _replace_texts(erasure, Erasure.Stage.CONVERSIONS, begin, end)


def _sweep_identities(erasure: Erasure, begin: int, end: int) -> None:
    """Delete identities that came while the person was being erased; put stand-ins into what is said of others.

    They keep their stamps, so that what the registers say of order stays true.
    """
    remove_links(erasure)  # those that came since; now nothing adds any
    stand_ins = stand_ins_of(erasure)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, octet_length(registers::text) FROM cohorts_identity t
             WHERE id > %(begin)s AND id <= %(end)s AND site_id = %(site)s
               AND (value = ANY(%(ids)s) OR EXISTS (
                   SELECT 1 FROM unnest(%(spellings)s::text[]) AS n (s) WHERE position(n.s IN t.registers::text) > 0))
             ORDER BY kind, value COLLATE "C" FOR UPDATE
            """,
            {
                "begin": begin,
                "end": end,
                "site": erasure.site_id,
                "ids": erasure.sought,
                "spellings": stand_ins.spellings,
            },
        )
        sizes = cursor.fetchall()
    for chunk in iter_chunks(sizes):
        for id_, kind, value, text in _load_identities(chunk):
            if value in stand_ins.of:
                Identity.objects.filter(pk=id_).delete()
                erasure.identities += 1
            else:
                _free_identity(erasure, id_, (kind, value), text, stand_ins)


def _load_identities(ids: Sequence[int]) -> list[tuple[int, int, str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, kind, value, registers::text FROM cohorts_identity
             WHERE id = ANY(%s) ORDER BY kind, value COLLATE "C"
            """,
            [list(ids)],
        )
        return list(cursor.fetchall())


def _free_identity(erasure: Erasure, id_: int, key: tuple[int, str], text: str, stand_ins: StandIns) -> None:
    before: merge.Registers = msgspec.json.decode(text)
    after: merge.Registers = msgspec.json.decode(stand_ins.json(text.encode()))
    for name in LINKS:  # an id within a longer one stays: that is another's
        if name in before:
            *stamp, owner = before[name]
            after[name] = [*stamp[:2], stand_ins.message_id(stamp[2]), stand_ins.of.get(owner, owner)]
            if name in merge.EARLIEST and owner in stand_ins.of:
                _forget_link(erasure, key, owner, after[name][3])
    if after != before:
        parent = merge.parent_of(after)
        Identity.objects.filter(pk=id_).update(registers=after, parent_value=parent[1] if parent else None)
        search.write(erasure.site_id, {id_: search.search_texts(after)})
        _note_replaced(erasure, Erasure.Stage.IDENTITIES.name)


def _forget_link(erasure: Erasure, key: tuple[int, str], visitor_code: str, stand_in: str) -> None:
    """Give somebody else's conversions that count for a visitor code of the person to its stand-in."""
    column = {Identity.Kind.USER: "user_id", Identity.Kind.ANONYMOUS: "anonymous_id"}[Identity.Kind(key[0])]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE goals_conversion AS c SET visitor_code = %s
             WHERE site_id = %s AND visitor_code = %s AND keyed_by = ANY(%s) AND {column} = %s
            RETURNING c.id, c.occurred_at, c.goal_id, %s, c.visitor_code, c.revenue, c.currency
            """,
            [stand_in, erasure.site_id, visitor_code, list(Conversion.LINKED), key[1], visitor_code],
        )
        _count(erasure, cursor.fetchall())


# All other tables: the columns that hold texts


def _text(stand_ins: StandIns, _: Erasure, text: str) -> str:
    return stand_ins.text(text)


def _message_id(stand_ins: StandIns, _: Erasure, text: str) -> str:
    return stand_ins.message_id(text)


def _json(stand_ins: StandIns, _: Erasure, text: str) -> str:
    return stand_ins.json(text.encode()).decode()


def _prose(stand_ins: StandIns, _: Erasure, text: str) -> str:
    return stand_ins.prose(text)


def _goal_name(stand_ins: StandIns, erasure: Erasure, name: str) -> str:
    """The name of a goal whose event is called as the person is."""
    for _, event in parse_goal_name(name, template=erasure.site.goal_name_template):
        if event.strip() in stand_ins.of:
            before, _, after = name.rpartition(event)
            return f"{before}{stand_ins.text(event)}{after}"
    return stand_ins.text(name)


def _message_key(stand_ins: StandIns, _: Erasure, key: str) -> str:
    """The key of a conversion whose event's messageId was the id."""
    type_, separator, message_id = key.partition(":")
    return f"{type_}{separator}{stand_ins.message_id(message_id)}"


@dataclass(frozen=True, slots=True)
class Texts:
    """The columns of a table that hold texts, and how each is freed of ids."""

    model: type[models.Model]
    columns: Mapping[str, Replace]
    of_site: str = "t.site_id = %(site)s"


Stage = Erasure.Stage
OF_SOURCE: Final = "EXISTS (SELECT 1 FROM api_source s WHERE s.id = t.source_id AND s.site_id = %(site)s)"
OF_IDENTITY: Final = "EXISTS (SELECT 1 FROM cohorts_identity i WHERE i.id = t.identity_id AND i.site_id = %(site)s)"
TEXTS: Final[Mapping[Erasure.Stage, Texts]] = {
    Stage.CONVERSIONS: Texts(Conversion, {"properties": _json, "message_key": _message_key}),
    Stage.GROUPS: Texts(Group, {"group_id": _text, "registers": _json}),
    Stage.PERSONAS: Texts(Persona, {"name": _text}),
    Stage.PERSONA_FACTS: Texts(PersonaFact, {"message_id": _message_id}, OF_IDENTITY),
    Stage.USERNAMES: Texts(Username, {"name": _text}),
    Stage.GOALS: Texts(Goal, {"name": _goal_name, "description": _prose}),
    Stage.BINDINGS: Texts(GoalBinding, {"event_name": _text}),
    Stage.WAITING_NAMES: Texts(WaitingName, {"name": _goal_name, "event_name": _text}),
    Stage.TAGS: Texts(Tag, {"name": _text}),
    Stage.RULES: Texts(
        Rule,
        {
            "name": _text,
            "name_value": _text,
            "path": _text,
            "path_value": _text,
            "argument": _text,
            "group_traits": _json,
        },
    ),
    Stage.TWINS: Texts(DuplicateSources, {"event_name": _text}),
    Stage.SOURCES: Texts(Source, {"name": _text}),
    Stage.LOADS: Texts(Load, {"file_name": _text}, OF_SOURCE),
    Stage.REMOVALS: Texts(Removal, {"name": _text}),
    Stage.GOAL_CHANGES: Texts(GoalsChange, {"tag": _text}),
}


def _replace_texts(erasure: Erasure, stage: Erasure.Stage, begin: int, end: int) -> None:
    """Put stand-ins into the texts of some rows of a table."""
    texts, stand_ins = TEXTS[stage], stand_ins_of(erasure)
    table = texts.model._meta.db_table  # noqa: SLF001 - Django's own way
    columns = list(texts.columns)
    as_texts = ", ".join(f"t.{name}::text" for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id, octet_length(concat_ws(' ', {as_texts})) FROM {table} t
             WHERE id > %(begin)s AND id <= %(end)s AND {texts.of_site}
               AND EXISTS (SELECT 1 FROM unnest(%(spellings)s::text[]) AS n (s)
                            WHERE position(n.s IN concat_ws(' ', {as_texts})) > 0)
             ORDER BY id FOR UPDATE OF t
            """,
            {"begin": begin, "end": end, "site": erasure.site_id, "spellings": stand_ins.spellings},
        )
        sizes = cursor.fetchall()
    if stage == Stage.CONVERSIONS:
        sizes = _without_messages(erasure, sizes)
    for chunk in iter_chunks(sizes):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT id, {as_texts} FROM {table} t WHERE id = ANY(%s) ORDER BY id", [chunk])
            rows = cursor.fetchall()
        for id_, *before in rows:
            replacing = zip(texts.columns.values(), before, strict=True)
            after = [replace_text(stand_ins, erasure, each) for replace_text, each in replacing]
            if after != before:
                _write_row(texts.model, id_, dict(zip(columns, after, strict=True)))
                _note_replaced(erasure, stage.name)


def _without_messages(erasure: Erasure, sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without the conversions whose message is there: they were looked at with it."""
    keys = dict(Conversion.objects.filter(pk__in=[id_ for id_, _ in sizes]).values_list("pk", "message_key"))
    kept = set()
    messages = Message.objects.filter(pk__in=message_ids_of(erasure.site_id, list(keys.values())))
    for pk, type_, message_id in messages.values_list("pk", "type", "message_id"):
        kept |= {f"#{pk}", f"{type_}:{message_id}"}
    return [(id_, size) for id_, size in sizes if keys.get(id_) not in kept]


def _write_row(model: type[models.Model], id_: int, texts: Mapping[str, str]) -> None:
    """Write the texts of a row; a name that somebody has already gets the row's number."""
    values: dict[str, Any] = {}
    for name, text in texts.items():
        field = model._meta.get_field(name)  # noqa: SLF001
        is_json = isinstance(field, models.JSONField)
        values[name] = msgspec.json.decode(text) if is_json else text[: getattr(field, "max_length", None)]
    row = model._default_manager.filter(pk=id_)  # noqa: SLF001
    try:
        with transaction.atomic():
            row.update(**values)
    except IntegrityError:
        row.update(**{name: f"{text}:{id_}" if isinstance(text, str) else text for name, text in values.items()})


def _sweep_texts(stage: Erasure.Stage) -> Sweep:
    def sweep(erasure: Erasure, begin: int, end: int) -> None:
        _replace_texts(erasure, stage, begin, end)

    return sweep


def _sweep_waiting_names(erasure: Erasure, begin: int, end: int) -> None:
    """Rename goal names that wait, for the messages that wait for them too."""
    quota.lock_names(erasure.site_id)
    names_before = WaitingName.objects.filter(site_id=erasure.site_id, pk__gt=begin, pk__lte=end)
    before = dict(names_before.values_list("pk", "name"))
    _replace_texts(erasure, Stage.WAITING_NAMES, begin, end)
    for pk, name in WaitingName.objects.filter(pk__in=before).values_list("pk", "name"):
        if name != before[pk]:
            waiting = Message.objects.filter(
                site_id=erasure.site_id, status=Message.Status.DEFERRED, waiting_for=before[pk]
            )
            waiting.update(waiting_for=name)


# Bytes of a row, as stored, in the tables with large rows.
ROW_BYTES: Final[Mapping[Erasure.Stage, str]] = {
    Stage.MESSAGES: "octet_length(body)",
    Stage.CONVERSIONS: "pg_column_size(properties)",
    Stage.IDENTITIES: "pg_column_size(registers)",
    Stage.GROUPS: "pg_column_size(registers)",
}


def end_of_step(stage: Erasure.Stage, begin: int, *, most_rows: int, most_bytes: int) -> int:
    """Return the last id of the rows after `begin` that a step looks at: so many, and so many bytes. At most one query.

    PostgreSQL searches the texts of all of them within one statement.
    """
    end = begin + most_rows
    if stage not in ROW_BYTES:
        return end
    table = SWEEPS[stage][0]._meta.db_table  # noqa: SLF001 - Django's own way
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT max(id) FILTER (WHERE so_far <= %(bytes)s), min(id), bool_and(so_far <= %(bytes)s)
              FROM (SELECT id, sum(size) OVER (ORDER BY id) AS so_far
                      FROM (SELECT id, {ROW_BYTES[stage]} AS size FROM {table}
                             WHERE id > %(begin)s AND id <= %(end)s) AS t) AS t
            """,
            {"begin": begin, "end": end, "bytes": most_bytes},
        )
        last, first, is_all = cursor.fetchone()
    return end if is_all in {None, True} else last or first


SWEEPS: Final[Mapping[Erasure.Stage, tuple[type[models.Model], Sweep]]] = {
    **{stage: (texts.model, _sweep_texts(stage)) for stage, texts in TEXTS.items()},
    Stage.MESSAGES: (Message, _sweep_messages),
    Stage.CONVERSIONS: (Conversion, _sweep_conversions),
    Stage.IDENTITIES: (Identity, _sweep_identities),
    Stage.WAITING_NAMES: (WaitingName, _sweep_waiting_names),
}

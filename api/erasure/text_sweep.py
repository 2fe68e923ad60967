"""The sweep of all other tables, whose text columns may name the ids of the erased person."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from django.db import IntegrityError, connection, models, transaction

from api.erasure.conversions import count_replaced, pseudonyms_of
from api.erasure.pseudonyms import Pseudonyms
from api.http.chunks import iter_chunks
from api.insight.people import message_ids_of
from api.models import DuplicateSources, Erasure, GoalsChange, Load, Message, Removal, Rule, Source, StoredAnswer
from cohorts import own_keys
from cohorts.models import Group, OwnKey, Persona, PersonaFact, Username
from goals import quota
from goals.experiments.models import Experiment, Variation
from goals.models import Cancellation, Conversion, Goal, GoalBinding, Tag, WaitingName
from goals.naming import parse_goal_name
from goals.visit_models import VisitFact
from site_rows import has_site

Replace = Callable[[Pseudonyms, Erasure, str], str]  # replaces the ids in a column's text


def _text(pseudonyms: Pseudonyms, _: Erasure, text: str) -> str:
    return pseudonyms.text(text)


def _message_id(pseudonyms: Pseudonyms, _: Erasure, text: str) -> str:
    return pseudonyms.message_id(text)


def _json(pseudonyms: Pseudonyms, _: Erasure, text: str) -> str:
    return pseudonyms.json(text.encode()).decode()


def _prose(pseudonyms: Pseudonyms, _: Erasure, text: str) -> str:
    return pseudonyms.prose(text)


def _goal_name(pseudonyms: Pseudonyms, erasure: Erasure, name: str) -> str:
    """Return the name of a goal without the ids, also if the event's name is an id."""
    for _, event in parse_goal_name(name, template=erasure.site.goal_name_template):
        if event.strip() in pseudonyms.of:
            before, _, after = name.rpartition(event)
            return f"{before}{pseudonyms.text(event)}{after}"
    return pseudonyms.text(name)


def _message_key(pseudonyms: Pseudonyms, _: Erasure, key: str) -> str:
    """Return the key of a conversion without the ids, also if the event's messageId is an id."""
    type_, separator, message_id = key.partition(":")
    return f"{type_}{separator}{pseudonyms.message_id(message_id)}"


@dataclass(frozen=True, slots=True)
class TextColumns:
    """The text columns of a table, each with the function that replaces the ids in it."""

    model: type[models.Model]
    columns: Mapping[str, Replace]


Stage = Erasure.Stage
TEXTS: Final[Mapping[Erasure.Stage, TextColumns]] = {
    Stage.CONVERSIONS: TextColumns(Conversion, {"properties": _json, "message_key": _message_key}),
    Stage.GROUPS: TextColumns(Group, {"group_id": _text, "registers": _json}),
    Stage.PERSONAS: TextColumns(Persona, {"name": _text}),
    Stage.PERSONA_FACTS: TextColumns(PersonaFact, {"message_id": _message_id}),
    Stage.USERNAMES: TextColumns(Username, {"name": _text}),
    Stage.GOALS: TextColumns(Goal, {"name": _goal_name, "display_name": _prose, "description": _prose}),
    Stage.BINDINGS: TextColumns(GoalBinding, {"event_name": _text}),
    Stage.WAITING_NAMES: TextColumns(WaitingName, {"name": _goal_name, "event_name": _text}),
    Stage.TAGS: TextColumns(Tag, {"name": _text}),
    Stage.RULES: TextColumns(
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
    Stage.TWINS: TextColumns(DuplicateSources, {"event_name": _text}),
    Stage.SOURCES: TextColumns(Source, {"name": _text}),
    Stage.LOADS: TextColumns(Load, {"file_name": _text}),
    Stage.REMOVALS: TextColumns(Removal, {"name": _text}),
    Stage.GOAL_CHANGES: TextColumns(GoalsChange, {"tag": _text}),
    Stage.STORED_ANSWERS: TextColumns(StoredAnswer, {"answer": _json}),
    Stage.OWN_KEYS: TextColumns(OwnKey, {"key": _text, "document": _json}),
    Stage.CANCELLATIONS: TextColumns(Cancellation, {"properties": _json, "message_key": _message_key}),
    Stage.VISIT_FACTS: TextColumns(VisitFact, {"message_id": _message_id, "fact": _json}),
    Stage.EXPERIMENTS: TextColumns(Experiment, {"event_name": _text}),
    Stage.VARIATIONS: TextColumns(Variation, {"event_name": _text}),
}


def replace_texts(stage: Erasure.Stage, erasure: Erasure, begin: int, end: int) -> None:
    """Replace the ids in the texts of some rows of a table by pseudonyms."""
    texts, pseudonyms = TEXTS[stage], pseudonyms_of(erasure)
    table = texts.model._meta.db_table  # noqa: SLF001 - Django's own way
    columns = list(texts.columns)
    as_texts = ", ".join(f"t.{name}::text" for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id, octet_length(concat_ws(' ', {as_texts})) FROM {table} t
             WHERE id > %(begin)s AND id <= %(end)s AND t.site_id = %(site)s
               AND EXISTS (SELECT 1 FROM unnest(%(spellings)s::text[]) AS n (s)
                            WHERE position(n.s IN concat_ws(' ', {as_texts})) > 0)
             ORDER BY id FOR UPDATE OF t
            """,
            {"begin": begin, "end": end, "site": erasure.site_id, "spellings": pseudonyms.spellings},
        )
        sizes = cursor.fetchall()
    if stage == Stage.CONVERSIONS:
        sizes = _without_messages(erasure, sizes)
    for chunk in iter_chunks(sizes):
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, {as_texts} FROM {table} t WHERE t.site_id = %(site)s AND id = ANY(%(ids)s) ORDER BY id",
                {"site": erasure.site_id, "ids": chunk},
            )
            rows = cursor.fetchall()
        for id_, *before in rows:
            replacing = zip(texts.columns.values(), before, strict=True)
            after = [replace_text(pseudonyms, erasure, text) for replace_text, text in replacing]
            if after != before:
                changed = {name: text for name, text, old in zip(columns, after, before, strict=True) if text != old}
                _write_row(erasure.site_id, texts.model, id_, changed)
                count_replaced(erasure, stage.name)


def _without_messages(erasure: Erasure, sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Leave out conversions that still have their message, because the sweep of messages covers them."""
    conversions = Conversion.objects.filter(site_id=erasure.site_id, pk__in=[id_ for id_, _ in sizes])
    keys = dict(conversions.values_list("pk", "message_key"))
    kept = set()
    messages = Message.objects.filter(
        site_id=erasure.site_id, pk__in=message_ids_of(erasure.site_id, list(keys.values()))
    )
    for pk, type_, message_id in messages.values_list("pk", "type", "message_id"):
        kept |= {f"#{pk}", f"{type_}:{message_id}"}
    return [(id_, size) for id_, size in sizes if keys.get(id_) not in kept]


def _write_row(site_id: int, model: type[models.Model], id_: int, texts: Mapping[str, str]) -> None:
    """Write the texts of a row. A name that another row has gets the row's number."""
    values: dict[str, Any] = {}
    for name, text in texts.items():
        field = model._meta.get_field(name)  # noqa: SLF001
        is_json = isinstance(field, models.JSONField)
        values[name] = msgspec.json.decode(text) if is_json else text[: getattr(field, "max_length", None)]
    row = model._default_manager.filter(pk=id_)  # noqa: SLF001
    if has_site(model):
        row = row.filter(site_id=site_id)
    try:
        with transaction.atomic():
            row.update(**values)
    except IntegrityError:
        row.update(**{name: f"{text}:{id_}" if isinstance(text, str) else text for name, text in values.items()})


def sweep_waiting_names(erasure: Erasure, begin: int, end: int) -> None:
    """Rename queued goal names, also in the messages that wait for them."""
    quota.lock_names(erasure.site_id)
    names_before = WaitingName.objects.filter(site_id=erasure.site_id, pk__gt=begin, pk__lte=end)
    before = dict(names_before.values_list("pk", "name"))
    replace_texts(Stage.WAITING_NAMES, erasure, begin, end)
    for pk, name in WaitingName.objects.filter(site_id=erasure.site_id, pk__in=before).values_list("pk", "name"):
        if name != before[pk]:
            waiting = Message.objects.filter(
                site_id=erasure.site_id, status=Message.Status.DEFERRED, waiting_for=before[pk]
            )
            waiting.update(waiting_for=name)


def sweep_own_keys(erasure: Erasure, begin: int, end: int) -> None:
    """Delete own keys that are named after the person. Replace the ids in others by pseudonyms."""
    mine = own_keys.named_after(erasure.site_id, erasure.sought).filter(pk__gt=begin, pk__lte=end)
    count_replaced(erasure, Stage.OWN_KEYS.name, mine.delete()[0])
    replace_texts(Stage.OWN_KEYS, erasure, begin, end)

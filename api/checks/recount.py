"""Check by deriving again: the tables hold everything that the processed messages say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

import times
from api.checks.base import DERIVE_AGAIN, Counts, Difference
from api.checks.changes import last_change
from api.checks.recount_rows import (
    EVENT_FIELDS,
    DerivedMessage,
    Known,
    PersonaFact,
    ProcessedMessage,
    exposure_of,
    links_of,
    load_batches,
    load_known,
    persona_fact_of,
    split_by_size,
    visit_fact_of,
)
from api.digest import rekey
from api.digest.derivation import Derivation, GoalHit, SourceConfig
from api.digest.mapping import derive
from api.digest.readings import NEWEST_READING
from api.digest.site_config import load_site_config
from api.digest.suppression import find_suppressed
from api.erasure.conversions import pseudonyms_of
from api.models import Erasure, Removal, Site
from cohorts import changes, merge
from goals.models import Conversion

# After a change of settings batches may finish under the earlier ones, and clocks may differ.
SETTLED: Final = timedelta(minutes=5)

UNREAD: Final = "A processed message would be rejected today. Goalpost or GOALPOST_HOOKS may have been changed since."
MISSING: Final = (
    "The tables lack what a processed message says of a person or group. The row was changed by hand, GOALPOST_HOOKS "
    f"was changed since, or it is a defect: then please report it. {DERIVE_AGAIN}"
)
FORGOTTEN: Final = (
    "The history lacks a change of a persona. The message was processed before there was a history, or the row was "
    f"deleted by hand. {DERIVE_AGAIN}"
)
UNCONVERTED: Final = (
    f"A processed message hits a goal and did not convert: please report it as a defect. {DERIVE_AGAIN}"
)
DIFFERENT: Final = "A conversion differs from its message: one of the two rows was changed by hand."


def check_recount(site_id: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield messages whose second derivation would change the tables.

    Messages digested before their site's rules changed are left out, because they may have said something else then.
    Ten queries a batch, of which one is in memory. Eight more for each further part if its people are large.
    """
    configs = {site.pk: (load_site_config(site), _rules_changed(site)) for site in Site.objects.all()}
    erased, removed, excuses_links = _find_erased_spellings(), _load_removals(), rekey.is_waiting()
    for batch in load_batches(site_id):
        messages = []
        for message in batch:
            if message.site_id not in configs:  # check_inbox reports it
                continue
            if any(spelling in message.stored.body for spelling in erased.get(message.site_id, ())):
                continue
            config, changed_at = configs[message.site_id]
            if changed_at is not None and message.digested_at < changed_at + SETTLED:
                counts["earlier"] += 1
            else:
                effects = derive(message.stored, config.for_message(message.stored))
                if effects.failed:  # the hook raises now
                    counts["earlier"] += 1
                    continue
                effects = _without_removed(message, effects, removed)
                said = changes.registers_of(effects.change) if effects.change else {}
                messages.append(DerivedMessage(message, effects, said))
        messages = _without_erased(messages)
        counts["recounted"] += len(messages)
        counts["former"] += sum(derived.message.stored.reading < NEWEST_READING for derived in messages)
        for part in split_by_size(messages):
            known = load_known(part, excuses_links=excuses_links)
            for derived in part:
                yield from _compare(derived, known)


def _find_erased_spellings() -> dict[int, list[bytes]]:
    """Return, by site, the spellings of people whose erasure goes on, because stand-ins replace them table by table."""
    by_site: dict[int, list[bytes]] = {}
    for erasure in Erasure.objects.filter(finished_at=None):
        spellings = [erasure.marker, *pseudonyms_of(erasure).spellings]
        by_site.setdefault(erasure.site_id, []).extend(spelling.encode() for spelling in spellings)
    return by_site


def _load_removals() -> dict[tuple[int, str, str], datetime | None]:
    """Return when the removals of personas and groups ended; None for one that goes on."""
    removals = Removal.objects.order_by("pk")
    return {(removal.site_id, removal.of, removal.name): removal.finished_at for removal in removals}


def _without_removed(
    message: ProcessedMessage, effects: Derivation, removed: Mapping[tuple[int, str, str], datetime | None]
) -> Derivation:
    """Leave out a persona or a group that was removed after the message was digested."""
    change = effects.change
    if change is None or not removed:
        return effects

    def is_gone(of: Removal.Of, name: str) -> bool:
        key = (message.site_id, str(of), name)
        return key in removed and ((until := removed[key]) is None or message.digested_at < until + SETTLED)

    if change.persona is not None and is_gone(Removal.Of.PERSONA, change.persona[0]):
        change = replace(change, persona=None)
    if change.group is not None and is_gone(Removal.Of.GROUP, change.group):
        change = replace(change, group=None, group_traits={})
    return replace(effects, change=change)


def _without_erased(messages: Sequence[DerivedMessage]) -> list[DerivedMessage]:
    """Leave out messages of people whose erasure goes on, because it deletes facts before messages."""
    by_site: dict[int, list[DerivedMessage]] = {}
    for derived in messages:
        by_site.setdefault(derived.message.site_id, []).append(derived)
    erased = set().union(
        *(
            find_suppressed(site_id, [row.message.stored for row in rows], [row.effects for row in rows])
            for site_id, rows in by_site.items()
        )
    )
    return [derived for derived in messages if derived.message.stored.id not in erased]


def _rules_changed(site: Site) -> datetime | None:
    changes = (last_change(site.pk, [field.name for field in fields(SourceConfig)]), site.rules_changed_at)
    return max((change for change in changes if change is not None), default=None)


def _compare(derived: DerivedMessage, known: Known) -> Iterator[Difference]:
    message, effects = derived.message, derived.effects
    if effects.rejected:
        yield Difference(UNREAD, f"{message.name}: {effects.rejected}")
        return
    for what in _missing(derived, known):
        yield Difference(MISSING, f"{message.name}: {what}")
    fact = persona_fact_of(derived)
    if fact and fact not in known.persona_facts and not _is_left_out(derived, fact, known):
        yield Difference(FORGOTTEN, message.name)
    if message.status != "done":
        return
    conversion = known.conversions.get((message.site_id, message.stored.key))
    if effects.goal is None:
        if message.has_converted:
            yield Difference(DIFFERENT, f"{message.name}: hits no goal")
    elif message.has_converted:
        others = _contradictions(effects.goal, conversion) if conversion else []
        if others:
            yield Difference(DIFFERENT, f"{message.name}: {', '.join(others)}")
    elif message.reason != "already_converted":
        yield Difference(UNCONVERTED, message.name)


def _missing(derived: DerivedMessage, known: Known) -> Iterator[str]:
    """Yield what the tables lack of a message, in words that name no person."""
    site_id, change = derived.message.site_id, derived.effects.change
    for (kind, value), said in derived.said.items():
        yield from _find_missing_registers(changes.Kind(kind).label, said, known.identities.get((site_id, kind, value)))
    if change and change.group is not None:
        yield from _find_missing_registers(
            "group", changes.group_registers_of(change), known.groups.get((site_id, change.group))
        )
    if change and not links_of(derived) <= known.links:
        yield "a link to its user is missing"
    if (fact := visit_fact_of(derived)) and fact not in known.visit_facts:
        yield "its fact of a visit is missing"
    exposure = derived.effects.exposure
    if exposure and known.exposures.get(exposure_of(derived) or (), times.LATEST) > exposure.at:
        yield "its exposure is missing, or later"
    is_listed = not derived.message.is_unlisted
    if change and change.persona is not None and is_listed and (site_id, change.persona[0]) not in known.personas:
        yield "its persona is missing"


def _is_left_out(derived: DerivedMessage, fact: PersonaFact, known: Known) -> bool:
    """Return whether a limit may have left a fact out of the history."""
    if derived.message.is_unlisted:
        return True
    site_id, kind, value, _, occurred_at, *_ = fact
    _, registers = known.identities.get((site_id, kind, value), (0, {}))
    until = registers.get(merge.LEFT_OUT, {}).get("history")
    return until is not None and occurred_at <= times.of_stamp(until)


def _find_missing_registers(
    holder: str, said: merge.Registers, held: tuple[int, merge.Registers] | None
) -> Iterator[str]:
    if held is None:
        yield f"its {holder} is missing"
    else:
        yield from (f"{name} of {holder} {held[0]}" for name in merge.not_joined(said, held[1]))


def _contradictions(hit: GoalHit, conversion: dict[str, Any]) -> list[str]:
    """Return the columns of a conversion that differ from its event. check_people checks visitors by late links."""
    names = [name for name in EVENT_FIELDS if conversion[name] != getattr(hit, name)]
    if merge.canonical(msgspec.json.decode(conversion["properties"])) != merge.canonical(
        msgspec.json.decode(hit.properties)
    ):
        names.append("properties")
    is_by_event = conversion["keyed_by"] == Conversion.KeyedBy.EVENT
    if is_by_event != (hit.visitor_code is not None) or (
        is_by_event and conversion["visitor_code"] != hit.visitor_code
    ):
        names.append("visitor_code")
    return names

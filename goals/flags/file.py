"""Reader of a configuration file of Kameleoon's SDKs: its flags, segments and custom data, and what is wrong. Pure."""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec

from goals.flags.problems import Problem, ProblemList, is_in_range
from goals.flags.segment_checks import MOST_LEVELS, find_withheld, read_segment, segments_named

RULE_TYPES: Final = ("EXPERIMENTATION", "TARGETED_DELIVERY")
VARIABLE_TYPES: Final = ("BOOLEAN", "NUMBER", "STRING", "JSON", "JS", "CSS")
MOST_FLAGS: Final = 2_000
MOST_SEGMENTS: Final = 500
NAMES_NONE: Final = {"conditionsData": {"firstLevel": ()}}  # a segment that leads to no other
ROUNDING: Final = 1e-6  # of the sum of shares


class CustomDataEntry(msgspec.Struct, frozen=True):
    """Custom data as a file names it."""

    id: int
    index: int
    name: str
    scope: str
    is_mapping_identifier: bool
    is_local_only: bool


class FlagFile(msgspec.Struct, frozen=True):
    """The parts of a file as every SDK reads them. Use them only if there is no problem."""

    flags: Sequence[dict[str, Any]]
    segments: Sequence[dict[str, Any]]
    custom_data: Sequence[CustomDataEntry]
    problems: Sequence[Problem]


class SiteParts(msgspec.Struct, frozen=True, kw_only=True):
    """Parts that the site has already."""

    segments: Mapping[int, Mapping[str, Any]] = {}  # documents of imported segments by id
    # Segments made in Goalpost, which a file may name, and bring only as SDKs get them; None for one that they do not.
    own_segments: Mapping[int, Mapping[str, Any] | None] = {}
    flags: Sequence[Mapping[str, Any]] = ()  # the documents of other flags


def read_file(text: bytes | str, known: SiteParts | None = None) -> FlagFile:
    """Return the parts of a file with its problems; a text that is no such file is one problem."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
        odd = _find_odd_value(document)
    except (ValueError, RecursionError) as error:
        return _refused(f"The file is not JSON: {error}.")
    if odd:
        return _refused(odd)
    if not isinstance(document, dict) or not isinstance(document.get("featureFlags"), list):
        return _refused("The file must be an object with the list featureFlags.")
    if len(document["featureFlags"]) > MOST_FLAGS:
        return _refused(f"The file has more than {MOST_FLAGS:,} flags.")
    segments = document.get("segments")
    if isinstance(segments, list) and len(segments) > MOST_SEGMENTS:
        return _refused(f"The file has more than {MOST_SEGMENTS:,} segments.")
    return read_document(document, known or SiteParts())


def read_document(document: Mapping[str, Any], known: SiteParts) -> FlagFile:
    """Return the parts of the object in a file, with its problems."""
    problems = ProblemList()
    custom_data = _read_custom_data(document.get("customData"), problems)
    segments = _read_segments(document.get("segments"), known, problems)
    segment_ids = known.segments.keys() | known.own_segments.keys() | {segment["id"] for segment in segments}
    indexes = {entry.id: entry.index for entry in custom_data}
    found = problems.read_objects(document.get("featureFlags"), "featureFlags")
    in_file = {str(flag.get("featureKey")) for flag, _ in found}
    reader = _FlagReader(segment_ids, indexes, problems)
    for other in known.flags:
        if other["featureKey"] not in in_file:
            reader.take_ids(other)
    flags = [reader.read_flag(flag, place) for flag, place in found]
    if document.get("holdout") is not None:
        problems.note("holdout", "Goalpost serves no holdouts. Remove this section.")
    return FlagFile(flags, segments, custom_data, problems)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _find_odd_value(value: Any) -> str:
    """Return a sentence about a value that PostgreSQL or JSON cannot keep, or an empty text."""
    if isinstance(value, str):
        is_odd = "\0" in value or any("\ud800" <= char <= "\udfff" for char in value)
        return "The file has a text with a null character or half a surrogate pair." if is_odd else ""
    if isinstance(value, float | int) and not is_in_range(value):
        return "The file has a number that is too large."
    parts = value if isinstance(value, list) else [*value, *value.values()] if isinstance(value, dict) else ()
    return next((odd for part in parts if (odd := _find_odd_value(part))), "")


def _refused(sentence: str) -> FlagFile:
    return FlagFile((), (), (), (Problem("file", sentence),))


def _read_custom_data(value: Any, problems: ProblemList) -> list[CustomDataEntry]:
    entries = []
    indexes: set[int] = set()
    for found, place in problems.read_objects(value, "customData"):
        index = problems.read_id(found.get("index"), f"{place}.index")
        problems.note_repeated(indexes, index, f"{place}.index", "custom data")
        entries.append(
            CustomDataEntry(
                id=problems.read_id(found["id"], f"{place}.id") if found.get("id") is not None else 0,
                index=index,
                name=problems.read_text(found.get("name") or f"Custom data {index}", f"{place}.name"),
                scope=problems.read_choice(
                    str(found.get("scope") or "VISIT").upper(), f"{place}.scope", ("VISITOR", "VISIT", "PAGE")
                ),
                is_mapping_identifier=problems.read_boolean(
                    found.get("isMappingIdentifier"), f"{place}.isMappingIdentifier", default=False
                ),
                is_local_only=problems.read_boolean(found.get("localOnly"), f"{place}.localOnly", default=False),
            )
        )
    return entries


def _read_segments(value: Any, known: SiteParts, problems: ProblemList) -> list[dict[str, Any]]:
    segments = []
    ids: set[int] = set()
    places: dict[int, str] = {}
    for found, place in problems.read_objects(value, "segments"):
        segment = read_segment(found, place, problems)
        problems.note_repeated(ids, segment["id"], f"{place}.id", "segment")
        own = known.own_segments.get(segment["id"], segment)
        if own is not segment:
            # A file of this site itself has its own segments, too.
            if own is None or own["conditionsData"] != segment["conditionsData"]:
                problems.note(
                    f"{place}.id", f"A segment of Goalpost has the id {segment['id']}. Give this one another."
                )
            continue
        segments.append(segment)
        places[segment["id"]] = place
    _check_chains(segments, places, known, problems)
    return segments


def _check_chains(
    segments: Sequence[Mapping[str, Any]], places: Mapping[int, str], known: SiteParts, problems: ProblemList
) -> None:
    """Note the segments that cannot be served beside the stored ones, which those of the file replace."""
    own = {id_: document or NAMES_NONE for id_, document in known.own_segments.items()}
    stored = {**own, **known.segments}
    together = {**stored, **{segment["id"]: segment for segment in segments}}
    withheld = find_withheld(together)
    for id_ in sorted(withheld & places.keys()):
        missing = sorted(segments_named(together[id_]) - together.keys())
        reason = (
            f"There is no segment {missing[0]}"
            if missing
            else f"Its conditions lead to itself, to no segment, or through more than {MOST_LEVELS} segments"
        )
        problems.note(places[id_], f"{reason}, so that SDKs would target everybody.")
    if not withheld & places.keys():
        # A stored segment leads to one of the file, which leads further than the one that it replaces.
        for id_ in sorted(withheld - find_withheld(stored)):
            problems.note("segments", f"The stored segment {id_} would lead through more than {MOST_LEVELS} segments.")


class _FlagReader:
    """Reader of flags, no two of which may have the same ids."""

    def __init__(self, segment_ids: AbstractSet[int], indexes: Mapping[int, int], problems: ProblemList) -> None:
        self.segment_ids = segment_ids
        self.indexes = indexes  # of custom data by their ids in the file
        self.problems = problems
        self.flag_keys: set[str] = set()
        self.flag_ids: set[int] = set()
        self.rule_ids: set[int] = set()
        self.experiment_ids: set[int] = set()
        self.variation_ids: set[int] = set()

    def take_ids(self, flag: Mapping[str, Any]) -> None:
        """Remember the ids of a flag that was read before."""
        self.flag_ids.add(flag.get("id", 0))
        for rule in flag["rules"]:
            self.rule_ids.add(rule["id"])
            self.experiment_ids.add(rule["experimentId"])
            self.variation_ids.update(share.get("variationId", 0) for share in rule["variationByExposition"])

    def read_flag(self, found: Mapping[str, Any], place: str) -> dict[str, Any]:
        """Return a flag as every SDK reads it, and note what cannot be read so."""
        problems = self.problems
        key = problems.read_text(found.get("featureKey"), f"{place}.featureKey")
        problems.note_repeated(self.flag_keys, key, f"{place}.featureKey", "flag")
        flag: dict[str, Any] = {}
        if found.get("id") is not None:
            flag["id"] = problems.read_id(found["id"], f"{place}.id")
            problems.note_repeated(self.flag_ids, flag["id"], f"{place}.id", "flag")
        variations = _read_variations(found.get("variations"), f"{place}.variations", problems)
        keys = [variation["key"] for variation in variations]
        default, where = found.get("defaultVariationKey"), f"{place}.defaultVariationKey"
        rules = problems.read_objects(found.get("rules"), f"{place}.rules")
        flag |= {
            "featureKey": key,
            "environmentEnabled": problems.read_boolean(
                found.get("environmentEnabled"), f"{place}.environmentEnabled", default=False
            ),
            "defaultVariationKey": _read_key(default, where, keys, problems),
            "variations": variations,
            "rules": [self.read_rule(rule, at, order, keys) for order, (rule, at) in enumerate(rules)],
        }
        if group := found.get("mutuallyExclusiveGroup"):
            flag["mutuallyExclusiveGroup"] = problems.read_text(group, f"{place}.mutuallyExclusiveGroup")
        if (bucketing := found.get("bucketingCustomDataId")) is not None:
            flag |= self._read_bucketing(bucketing, f"{place}.bucketingCustomDataId")
        return flag

    def _read_bucketing(self, value: Any, place: str) -> dict[str, int]:
        id_ = self.problems.read_id(value, place)
        if id_ and id_ not in self.indexes:
            self.problems.note(place, f"The file has no custom data with the id {id_}.")
        index = self.indexes.get(id_, 0)
        # The configuration serves custom data with their indexes as ids.
        return {"bucketingCustomDataId": index, "bucketingCustomDataIndex": index}

    def read_rule(self, found: Mapping[str, Any], place: str, number: int, keys: Sequence[str]) -> dict[str, Any]:
        """Return a rule as every SDK reads it. `number` is its order if it has none."""
        problems = self.problems
        order = found.get("order")
        shares = self._read_shares(found.get("variationByExposition"), f"{place}.variationByExposition", keys)
        rule: dict[str, Any] = {
            "id": problems.read_id(found.get("id"), f"{place}.id"),
            "order": number if order is None else problems.read_number(order, f"{place}.order"),
            "type": problems.read_choice(found.get("type") or "EXPERIMENTATION", f"{place}.type", RULE_TYPES),
            "exposition": problems.read_share(found.get("exposition"), f"{place}.exposition"),
            "experimentId": problems.read_id(found.get("experimentId"), f"{place}.experimentId"),
            "variationByExposition": shares,
        }
        problems.note_repeated(self.rule_ids, rule["id"], f"{place}.id", "rule")
        problems.note_repeated(self.experiment_ids, rule["experimentId"], f"{place}.experimentId", "rule")
        if found.get("respoolTime") is not None:
            rule["respoolTime"] = problems.read_number(found["respoolTime"], f"{place}.respoolTime")
        if found.get("segmentId") is not None:
            id_ = rule["segmentId"] = problems.read_id(found["segmentId"], f"{place}.segmentId")
            if id_ and id_ not in self.segment_ids:
                sentence = f"There is no segment {id_}, so that SDKs would target everybody."
                problems.note(f"{place}.segmentId", sentence)
        if rule["type"] == "TARGETED_DELIVERY" and len(shares) > 1:
            problems.note(
                f"{place}.variationByExposition",
                "A targeted delivery needs one variation: Python takes the first, JavaScript one by chance.",
            )
        return rule

    def _read_shares(self, value: Any, place: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        problems = self.problems
        shares = []
        for found, at in problems.read_objects(value, place):
            share: dict[str, Any] = {
                "variationKey": _read_key(found.get("variationKey"), f"{at}.variationKey", keys, problems),
                "exposition": problems.read_share(found.get("exposition"), f"{at}.exposition"),
            }
            if found.get("variationId") is not None:
                share["variationId"] = problems.read_id(found["variationId"], f"{at}.variationId")
                problems.note_repeated(self.variation_ids, share["variationId"], f"{at}.variationId", "variation")
            shares.append(share)
        if sum(share["exposition"] for share in shares) > 1 + ROUNDING:
            problems.note(place, "The expositions come to more than 1.")
        return shares


def _read_key(value: Any, place: str, keys: Sequence[str], problems: ProblemList) -> str:
    key = problems.read_text(value, place)
    if key and key not in keys:
        problems.note(place, f"The flag has no variation {key}.")
    return key


def _read_variations(value: Any, place: str, problems: ProblemList) -> list[dict[str, Any]]:
    variations = []
    keys: set[str] = set()
    for found, at in problems.read_objects(value, place):
        key = problems.read_text(found.get("key"), f"{at}.key")
        problems.note_repeated(keys, key, f"{at}.key", "variation")
        variables = [
            _read_variable(variable, where, problems)
            for variable, where in problems.read_objects(found.get("variables"), f"{at}.variables")
        ]
        name = problems.read_text(found.get("name") or key, f"{at}.name") if key else ""
        variations.append({"key": key, "name": name, "variables": variables})
    if not variations:
        problems.note(place, "The flag needs its variations, the default one among them.")
    return variations


def _read_variable(found: Mapping[str, Any], place: str, problems: ProblemList) -> dict[str, Any]:
    key = problems.read_text(found.get("key"), f"{place}.key")
    type_ = problems.read_choice(found.get("type"), f"{place}.type", VARIABLE_TYPES)
    value, where = found.get("value"), f"{place}.value"
    if type_ == "BOOLEAN" and not isinstance(value, bool):
        problems.note(where, "true or false is needed for a BOOLEAN.")
    elif type_ == "NUMBER":
        value = problems.read_number(value, where)
    elif type_ == "JSON":
        value = _read_json(value, where, problems)
    elif type_ in {"STRING", "JS", "CSS"} and not isinstance(value, str):
        problems.note(where, f"A text is needed for a {type_}.")
    return {"key": key, "type": type_, "value": value}


def _read_json(value: Any, place: str, problems: ProblemList) -> str:
    """Return JSON as text, as SDKs expect it."""
    if isinstance(value, dict | list):
        return json.dumps(value)
    try:
        json.loads(value if isinstance(value, str) else "")
    except (ValueError, RecursionError):
        problems.note(place, "A text with JSON is needed.")
    return str(value)

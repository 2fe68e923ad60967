"""Conditions of a segment as a person types them: the fields of the form, and what its buttons change. Pure."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.http import QueryDict

from api.pages.people.segment_lines import write_lines
from cohorts.custom_data import parse_trait_path
from cohorts.seen_traits import SeenTrait
from cohorts.segments.conditions import Conditions, write_conditions
from cohorts.segments.sentences import ReferenceNames

KINDS: Final = {
    "trait": "Trait",
    "persona": "Persona",
    "group": "Group",
    "groupTrait": "Trait of the group",
    "customData": "Custom data",
    "goal": "Goal",
    "seen": "First or last time seen",
    "visits": "Number of visits",
    "source": "Source",
    "segment": "Segment",
}
# The words for a condition and for its negation.
CLAIMS: Final = {
    "persona": ("is in", "is not in"),
    "group": ("is one of", "is none of"),
    "goal": ("converted", "did not convert"),
    "source": ("converted by", "did not convert by"),
    "segment": ("is in", "is not in"),
}
MATCHES: Final = ("matches", "does not match")
OF_VALUES: Final = frozenset({"trait", "groupTrait", "customData"})  # these have a test of a value
DATE_TESTS: Final = (
    ("date.within", "is in the last … days"),
    ("date.longer_ago", "is more than … days ago"),
    ("date.in_next", "is in the next … days"),
    ("date.before", "is before"),
    ("date.since", "is on or after"),
)
NUMBER_TESTS: Final = (
    ("number.equals", "equals"),
    ("number.above", "is more than"),
    ("number.at_least", "is at least"),
    ("number.below", "is less than"),
    ("number.at_most", "is at most"),
    ("number.between", "is between"),
)
TESTS: Final = (
    ("Any type", (("any", "exists"),)),
    (
        "Text",
        (
            ("text.equals", "is one of"),
            ("text.contains", "contains"),
            ("text.begins", "begins with"),
            ("text.ends", "ends with"),
        ),
    ),
    ("Number", NUMBER_TESTS),
    ("True or false", (("boolean.true", "is true"), ("boolean.false", "is false"))),
    ("Date", DATE_TESTS),
    ("List", (("list.any", "contains one of"), ("list.all", "contains all of"))),
)
# The tests of kinds whose values have one type.
OWN_TESTS: Final = {"seen": (("Date", DATE_TESTS),), "visits": (("Number", NUMBER_TESTS),)}
# The test that a picked trait begins with.
FIRST_TESTS: Final = {
    "text": "text.equals",
    "number": "number.at_least",
    "boolean": "boolean.true",
    "date": "date.within",
    "list": "list.any",
}
WITH_DAYS: Final = frozenset({"date.within", "date.longer_ago", "date.in_next"})
FIELDS: Final = (
    *("on", "negated", "path", "typed", "index", "persona", "ids", "goal", "times", "revenue", "currency"),
    *("days", "which", "source", "segment", "test", "texts", "number", "most", "date"),
)
FIRST_FIELD: Final = {
    "trait": "path",
    "groupTrait": "path",
    "persona": "persona",
    "group": "ids",
    "customData": "index",
    "goal": "goal",
    "seen": "which",
    "visits": "days",
    "source": "source",
    "segment": "segment",
}
# Fields of a kind beside its first one.
SHOWN: Final = {"goal": ("times", "revenue", "currency", "days")}
AT: Final = re.compile(r"(\d{1,4})\.(\d{1,4})")
MOST_READ: Final = 60  # conditions of a form, more than a segment may have


@dataclass
class ConditionDraft:
    """A condition as it was typed. `at` is in the names of its fields: `0.1.path`."""

    at: str
    fields: dict[str, str]
    faults: dict[str, str] = field(default_factory=dict)  # sentences by field
    has_focus: bool = False

    @property
    def kind(self) -> str:
        return self.fields["on"] if self.fields["on"] in KINDS else "trait"

    @property
    def group(self) -> str:
        """Return the number of its group in the names of fields."""
        return self.at.partition(".")[0]

    @property
    def claims(self) -> tuple[str, str]:
        """Return the words for the condition and for its negation."""
        return CLAIMS.get(self.kind, MATCHES)

    @property
    def test(self) -> str:
        """Return the kind of the test: `any`, `text`, and so on; empty if there is none."""
        has_test = self.kind in OF_VALUES or self.kind in OWN_TESTS
        return self.fields["test"].partition(".")[0] if has_test else ""

    @property
    def has_days(self) -> bool:
        return self.fields["test"] in WITH_DAYS

    @property
    def has_most(self) -> bool:
        return self.fields["test"] == "number.between"

    @property
    def shown(self) -> set[str]:
        """Return the names of the fields that a person sees."""
        names = {"on", "negated", FIRST_FIELD[self.kind], *SHOWN.get(self.kind, ())}
        if self.test:
            names.add("test")
        match self.test:
            case "text" | "list":
                names.add("texts")
            case "number":
                names |= {"number", "most"} if self.has_most else {"number"}
            case "date":
                names.add("days" if self.has_days else "date")
        return names

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """Return the other fields, which come back as soon as a person chooses their kind again."""
        shown = self.shown
        return [(name, value) for name, value in self.fields.items() if value and name not in shown]

    @property
    def tests(self) -> Sequence[tuple[str, Sequence[tuple[str, str]]]]:
        return OWN_TESTS.get(self.kind, TESTS)


@dataclass
class SegmentDraft:
    """A segment as it was typed."""

    name: str = ""
    description: str = ""
    groups: list[list[ConditionDraft]] = field(default_factory=list)
    name_fault: str = ""
    description_fault: str = ""
    faults: list[str] = field(default_factory=list)  # of the whole segment
    is_outdated: bool = False  # another person changed the segment after the form was opened

    @property
    def named_faults(self) -> list[tuple[str, str]]:
        """Return the faults of conditions, each with the id of its field and a sentence that names the condition."""
        return [
            (f"{draft.at}.{name}", f"Condition {place} of group {number} ({KINDS[draft.kind].lower()}): {sentence}")
            for number, group in enumerate(self.groups, start=1)
            for place, draft in enumerate(group, start=1)
            for name, sentence in draft.faults.items()
        ]

    @property
    def has_faults(self) -> bool:
        return bool(self.name_fault or self.description_fault or self.faults or self.named_faults)

    @property
    def drafts(self) -> list[ConditionDraft]:
        return [draft for group in self.groups for draft in group]


def new_draft(group: int, place: int, **given: str) -> ConditionDraft:
    """Return an empty condition."""
    fields = dict.fromkeys(FIELDS, "") | {"on": "trait", "test": "any", "which": "last", "times": "1"} | given
    return ConditionDraft(f"{group}.{place}", fields)


def read_draft(form: QueryDict) -> SegmentDraft:
    """Return a segment as a form has it."""
    groups = defaultdict[str, list[ConditionDraft]](list)
    for at in dict.fromkeys(form.getlist("at")[:MOST_READ]):
        if match := AT.fullmatch(at):
            fields = {name: form.get(f"{at}.{name}", "") for name in FIELDS}
            groups[match[1]].append(ConditionDraft(at, fields))
    return SegmentDraft(form.get("name", "").strip(), form.get("description", "").strip(), list(groups.values()))


def press(draft: SegmentDraft, do: str) -> None:
    """Add or remove a condition, as a button of the form says. Places of the other conditions stay as they are."""
    what, _, at = do.partition(":")
    numbers = [int(group[0].group) for group in draft.groups]
    if what == "add-group":
        added = new_draft(max(numbers, default=-1) + 1, 0)
        added.has_focus = True
        draft.groups.append([added])
    for group in draft.groups:
        if what == "add" and group[0].group == at:
            last = max(int(each.at.partition(".")[2]) for each in group)
            added = new_draft(int(at), last + 1)
            added.has_focus = True
            group.append(added)
            break
    if what == "drop":
        draft.groups = [rest for group in draft.groups if (rest := [each for each in group if each.at != at])]


def suggest_tests(draft: SegmentDraft, seen: Mapping[str, Sequence[SeenTrait]]) -> None:
    """Begin with a test that fits the type of a trait that was just picked. `seen` has the traits by kind.

    A test that a person chose stays. A test that the kind does not have becomes one that it has.
    """
    for each in draft.drafts:
        path = each.fields["path"]
        is_untouched = each.fields["test"] == "any" and path != each.fields["typed"]
        if each.kind in seen and path and is_untouched:
            types = {trait.path: trait.type for trait in seen[each.kind]}
            fitting = FIRST_TESTS.get(types.get(parse_trait_path(path), ""))
            if fitting is not None:
                each.fields["test"] = fitting
        each.fields["typed"] = path
        if each.kind == "seen" and each.test != "date":
            each.fields["test"] = "date.within"
        if each.kind == "visits" and each.test != "number":
            each.fields["test"] = "number.at_least"


def draft_of(conditions: Conditions, names: ReferenceNames) -> list[list[ConditionDraft]]:
    """Return the form of saved conditions."""
    return [
        [_draft_of(group, place, each, names) for place, each in enumerate(its)]
        for group, its in enumerate(write_conditions(conditions))
    ]


def _draft_of(group: int, place: int, value: Mapping[str, Any], names: ReferenceNames) -> ConditionDraft:
    draft = new_draft(group, place, on=value["on"], negated="yes" if value.get("negated") else "")
    fields = draft.fields
    for name in ("index", "times", "revenue", "currency", "which", "source", "segment"):
        if value.get(name) is not None:
            fields[name] = str(value[name])
    if value.get("days") is not None:
        fields["days"] = _write_days(value["days"])
    if "path" in value:
        fields["path"] = fields["typed"] = write_path(value["path"])
    if "goal" in value:
        name = names.goals.get(value["goal"], "")
        fields["goal"] = name if name and not name.isdigit() else str(value["goal"])
    fields["persona"] = value.get("name", "")
    fields["ids"] = write_lines(value.get("ids", ()))
    if "test" in value:
        fields.update(_fields_of_test(value["test"]))
    return draft


def _fields_of_test(test: Mapping[str, Any]) -> dict[str, str]:
    kind = test["type"]
    if kind == "any":
        return {"test": "any"}
    if kind == "boolean":
        return {"test": f"boolean.{'true' if test['isTrue'] else 'false'}"}
    how = test.get("how") or {"text": "equals", "list": "any"}[kind]
    fields = {"test": f"{kind}.{how}", "texts": write_lines(test.get("texts", ()))}
    fields |= {name: str(test[name]) for name in ("number", "most", "date") if test.get(name) is not None}
    return fields | ({"days": _write_days(test["days"])} if test.get("days") is not None else {})


def _write_days(days: float) -> str:
    short = f"{days:.12g}"
    return short if float(short) == days else repr(days)


def write_path(path: Sequence[str]) -> str:
    r"""Return the path of a trait as it is typed, with `\.` for a dot within a name."""
    return ".".join(name.replace(".", "\\.") for name in path)

"""Conditions of segments in words. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, assert_never

from cohorts.segments.conditions import (
    BooleanTest,
    Condition,
    Conditions,
    CustomDataCondition,
    DateTest,
    Exists,
    GoalCondition,
    GroupCondition,
    GroupTraitCondition,
    ListTest,
    NumberTest,
    PersonaCondition,
    SeenCondition,
    SegmentCondition,
    SourceCondition,
    Test,
    TextTest,
    TraitCondition,
    VisitsCondition,
)

MOST_TEXTS: Final = 5  # of a list of values that a sentence names
TEXT_LENGTH: Final = 60
MOST_DIGITS: Final = 30  # of a number that is written in full
NUMBERS: Final = {
    "equals": "",
    "above": "more than ",
    "at_least": "at least ",
    "below": "less than ",
    "at_most": "at most ",
    "between": "between ",
}


@dataclass(frozen=True, slots=True)
class ReferenceNames:
    """The names of rows of a site that conditions name by number."""

    goals: Mapping[int, str] = field(default_factory=dict)
    sources: Mapping[int, str] = field(default_factory=dict)
    segments: Mapping[int, str] = field(default_factory=dict)
    custom_data: Mapping[int, str] = field(default_factory=dict)  # by index


def describe_conditions(conditions: Conditions, names: ReferenceNames) -> list[list[str]]:
    """Return each condition in words, by group."""
    return [[describe(condition, names) for condition in group] for group in conditions]


def describe(condition: Condition, names: ReferenceNames) -> str:  # noqa: C901, PLR0911 - a case each
    """Return a condition in words: `trait plan is “pro”`, `did not convert the goal “Buy”`."""
    negated = condition.negated
    match condition:
        case TraitCondition():
            return _describe_value(f"trait {_path(condition.path)}", condition.test, negated=negated)
        case GroupTraitCondition():
            return _describe_value(f"trait {_path(condition.path)} of the group", condition.test, negated=negated)
        case CustomDataCondition():
            name = _name(condition.index, names.custom_data)
            return _describe_value(f"custom data {name}", condition.test, negated=negated)
        case GroupCondition():
            if not condition.ids:
                return "has no group" if negated else "has a group"
            return f"group {'is not' if negated else 'is'} {_list(condition.ids, 'or')}"
        case PersonaCondition():
            return f"{_is_in(negated=negated)} the persona {_quote(condition.name)}"
        case SegmentCondition():
            return f"{_is_in(negated=negated)} the segment {_name(condition.segment, names.segments)}"
        case SourceCondition():
            verb = "did not convert" if negated else "converted"
            return f"{verb} by the source {_name(condition.source, names.sources)}"
        case GoalCondition():
            return _describe_goal(condition, names)
        case SeenCondition():
            return f"{condition.which} time seen {_describe_date(condition.test, 'was', negated=negated)}"
        case VisitsCondition():
            verb = "is not" if negated else "is"
            return f"number of visits {_last(condition.days)} {verb} {_describe_number(condition.test)}"
    assert_never(condition)


def _is_in(*, negated: bool) -> str:
    return "is not in" if negated else "is in"


def _path(path: Sequence[str]) -> str:
    return ".".join(path)


def _name(number: int, names: Mapping[int, str]) -> str:
    return _quote(names[number]) if number in names else f"{number}, which is gone"


def _quote(text: str) -> str:
    return f"“{text[:TEXT_LENGTH]}…”" if len(text) > TEXT_LENGTH else f"“{text}”"


def _list(texts: Sequence[str], word: str) -> str:
    """Return texts as a list with `or` or `and` before the last."""
    quoted = [_quote(text) for text in texts[:MOST_TEXTS]]
    if len(texts) > MOST_TEXTS:
        quoted.append(f"{len(texts) - MOST_TEXTS:,} more")
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"


def _describe_goal(condition: GoalCondition, names: ReferenceNames) -> str:
    parts = [f"{'did not convert' if condition.negated else 'converted'} the goal {_name(condition.goal, names.goals)}"]
    if condition.times > 1:
        parts.append(f"at least {condition.times:,} times")
    if condition.revenue is not None:
        parts.append(f"with a revenue of at least {condition.currency or ''} {_number(condition.revenue)}")
    if condition.days is not None:
        parts.append(f"{_last(condition.days)}")
    return " ".join(parts)


def _describe_value(subject: str, test: Test, *, negated: bool) -> str:
    """Return a test of a value in words. A value that is missing passes no test, hence each negated one."""
    match test:
        case Exists():
            return f"{subject} {'is missing' if negated else 'is there'}"
        case TextTest():
            words = _describe_text(test, negated=negated)
        case NumberTest():
            words = f"{'is not' if negated else 'is'} {_describe_number(test)}"
        case BooleanTest():
            words = f"{'is not' if negated else 'is'} {'true' if test.is_true else 'false'}"
        case DateTest():
            words = _describe_date(test, "is", negated=negated)
        case ListTest():
            verb = "does not contain" if negated else "contains"
            words = f"{verb} {_list(test.texts, 'or' if test.how == 'any' else 'and')}"
        case _:
            assert_never(test)
    return f"{subject} {words}{', or is missing' if negated else ''}"


def _describe_text(test: TextTest, *, negated: bool) -> str:
    texts = _list(test.texts, "or")
    if test.how == "equals":
        return f"{'is not' if negated else 'is'} {texts}"
    if negated:
        verbs = {"contains": "does not contain", "begins": "does not begin with", "ends": "does not end with"}
    else:
        verbs = {"contains": "contains", "begins": "begins with", "ends": "ends with"}
    return f"{verbs[test.how]} {texts}"


def _describe_number(test: NumberTest) -> str:
    end = f" and {_number(test.most)}" if test.how == "between" and test.most is not None else ""
    return f"{NUMBERS[test.how]}{_number(test.number)}{end}"


def _describe_date(test: DateTest, verb: str, *, negated: bool) -> str:
    words: Mapping[str, Callable[[], str]] = {
        "before": lambda: f"before {test.date}",
        "since": lambda: f"on or after {test.date}",
        "within": lambda: _last(test.days),
        "longer_ago": lambda: f"more than {_days(test.days)} ago",
        "in_next": lambda: f"in the next {_days(test.days)}",
    }
    return f"{verb}{' not' if negated else ''} {words[test.how]()}"


def _last(days: float | None) -> str:
    return "in the last day" if days == 1 else f"in the last {_days(days)}"


def _days(days: float | None) -> str:
    return "1 day" if days == 1 else f"{_number(Decimal(str(days or 0)))} days"


def _number(number: Decimal) -> str:
    if abs(number.adjusted()) > MOST_DIGITS:
        return str(number)
    return f"{number.normalize():,f}"

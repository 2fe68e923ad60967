"""Rules as sentences. Pure."""

from typing import Final

from api.rules.actions import RuleAction, describe_action
from api.rules.rule import EventRule

NAME_TESTS: Final = {"equals": "is", "prefix": "begins with", "pattern": "has the pattern"}


def describe_rule(rule: EventRule, *, source: str = "") -> str:
    """Return a rule as one sentence, such as `If the type is page, then ignore the event`.

    `source` is the name of the rule's source, empty for a rule of all sources.
    """
    facts = [
        f"the type is {rule.event_type}" if rule.event_type else "",
        f"the name {NAME_TESTS.get(rule.name_test, rule.name_test)} “{rule.name_value}”" if rule.name_test else "",
        _describe_field(rule) if rule.path_test else "",
        f"the source is “{source}”" if source else "",
    ]
    condition = _join([fact for fact in facts if fact])
    return f"If {condition}, then {_describe_action(rule)}." if condition else f"Always {_describe_action(rule)}."


def _describe_field(rule: EventRule) -> str:
    return f"{rule.path} is “{rule.path_value}”" if rule.path_test == "equals" else f"{rule.path} exists"


def _describe_action(rule: EventRule) -> str:
    done = describe_action(rule.action, rule.argument)
    traits = _join([f"{name} from {path}" for name, path in rule.group_traits])
    return f"{done}, with {traits}" if traits and rule.action == RuleAction.GROUP_FROM else done


def _join(texts: list[str]) -> str:
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else "".join(texts)

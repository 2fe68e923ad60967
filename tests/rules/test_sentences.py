"""Each part of a rule in its sentence, and the words that every action needs."""

import pytest

from api.rules.actions import RuleAction
from api.rules.rule import EventRule
from api.rules.sentences import describe_rule


@pytest.mark.parametrize(
    ("rule", "source", "sentence"),
    [
        (EventRule("drop"), "", "Always ignore the event."),
        (EventRule("drop", "a robot"), "", "Always ignore the event: a robot."),
        (EventRule("no_goal", event_type="page"), "", "If the type is page, then make no goal and no conversion."),
        (
            EventRule("pattern_goal", "Viewed {n}", event_type="track", name_test="prefix", name_value="Viewed"),
            "",
            "If the type is track and the name begins with “Viewed”, then make one goal of “Viewed {n}”.",
        ),
        (
            EventRule("rename", "P: {name}", event_type="page", path="properties.a", path_test="exists"),
            "Shop",
            "If the type is page, properties.a exists and the source is “Shop”, then rename the event to “P: {name}”.",
        ),
        (
            EventRule("group_from", "traits.id", group_traits=(("b", "traits.b"), ("c", "traits.c"))),
            "",
            "Always take the group from traits.id, with b from traits.b and c from traits.c.",
        ),
        (
            EventRule("hash_field", "traits.email", path="type", path_test="equals", path_value="identify"),
            "",
            "If type is “identify”, then hash traits.email before the event is stored.",
        ),
        (EventRule("drop", group_traits=(("b", "traits.b"),)), "", "Always ignore the event."),
        (EventRule("rename", "{} and {}"), "", "Always rename the event to “{} and {}”."),
        (EventRule("gone", "x"), "", "Always gone."),
    ],
)
def test_rule__in_words__is_one_sentence(rule: EventRule, source: str, sentence: str) -> None:
    assert describe_rule(rule, source=source) == sentence


@pytest.mark.parametrize("action", [action for action in RuleAction if action.spec.argument], ids=str)
def test_action__with_a_required_argument__has_a_field_and_an_example(action: RuleAction) -> None:
    assert action.spec.field
    assert action.spec.check(action.spec.example) == ""
    assert action.spec.example
    assert action.spec.example in action.spec.say(action.spec.example)

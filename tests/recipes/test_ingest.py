"""The recipes "An event type" and "A rule action" of CONTRIBUTING.md."""

from tests.support.throwaway_copy import Copy

TYPES, NAMING, MAPPING, ACTIONS = (
    "api/events/types.py",
    "goals/naming.py",
    "api/digest/mapping.py",
    "api/rules/actions.py",
)
REVIEW = """        EventType("review", "r", {"name": "Great", **PERSON}, own_field="group_id", name_fields=("name",)),
"""
SEND = """
import io
from datetime import UTC, datetime
from django.core.management import call_command
from api.digest.mapping import SourceConfig, StoredMessage, derive
from api.events.envelope import read_event
from api.events.types import TYPES
from api.ingest import tracking
from api.pages.events.tester import SAMPLES
from goals.naming import name_goal

body = b'{"groupId": "inferred", "userId": "ada", "name": "Great"}'
event = read_event(body, position=0, received_at=datetime.now(UTC))
message = StoredMessage(1, event.type, None, 0, event.occurred_at, event.body)
hit = derive(message, SourceConfig()).goal
print(*(path in tracking.ENDPOINTS for path in ("/v1/review", "/v1/r/")), TYPES[-1], SAMPLES["review"]["type"])
print(event.type, name_goal(hit.event.type, hit.event.name))
schema = io.StringIO()
call_command("spectacular", stdout=schema)
print("- review" in schema.getvalue())
"""
SHOUT = """
def _shout(rule: EventRule, ruled: RuledEvent, *_: Any) -> bool:
    ruled.name = f"{ruled.name}{rule.argument}".upper()
    return True


"""
ACT = """
import io
from django.core.management import call_command
from api.models import Rule
from api.pages.settings.rule_form import RuleForm
from api.rules.actions import apply_rules
from api.rules.rule import EventRule
from api.rules.validation import find_problems

print(find_problems(EventRule("shout")))
print(apply_rules("track", {"event": "bought"}, [EventRule("shout", "!", id=7)]).name)
print(Rule(action="shout", argument="!"), ("shout", "shout the name") in RuleForm.base_fields["action"].choices)
call_command("makemigrations", "api", check=True, dry_run=True, verbosity=0)
schema = io.StringIO()
call_command("spectacular", stdout=schema)
print("- shout" in schema.getvalue())
"""


def test_event_type__added_by_its_recipe__makes_a_goal(copy: Copy) -> None:
    copy.insert(TYPES, REVIEW, after='the one from now on.",\n            ),\n        ),\n')
    copy.insert(MAPPING, '    "review": _read_page,\n', after='    "alias": _read_alias,\n')
    copy.insert(NAMING, ', "review"', after='GOAL_TYPES: Final = ("track", "page", "screen"')

    assert copy.run(SEND).splitlines() == [
        "True True review review",
        "review SegmentIO review – Great",
        "True",
    ]
    assert copy.files == {TYPES, MAPPING, NAMING}


def test_rule_action__added_by_its_recipe__acts_without_a_migration(copy: Copy) -> None:
    copy.insert(ACTIONS, SHOUT, after="    return ABSENT\n\n\n")
    copy.insert(
        ACTIONS,
        '    SHOUT = "shout", ActionSpec("shout the name", "what follows it, such as `!`", act=_shout)\n',
        after='    NO_GOAL = "no_goal", ActionSpec("make no goal and no conversion", act=_make_no_goal)\n',
    )

    assert copy.run(ACT).splitlines() == [
        "{'argument': 'Give what follows it, such as `!`.'}",
        "BOUGHT!",
        "shout the name: ! True",
        "True",
    ]
    assert copy.files == {ACTIONS}

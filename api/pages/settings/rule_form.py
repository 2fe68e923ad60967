"""The form of a rule, whose values match to the byte."""

from typing import Any, Final

from django import forms

from api.digest.site_config import rule_of
from api.events.types import ALL_TYPES
from api.models import Rule
from api.rules.actions import RULE_ACTIONS, ActionSpec, list_action_choices
from api.rules.validation import explain_too_many, find_problems

FIELDS: Final = (
    "source",
    "name",
    "is_enabled",
    "event_type",
    "name_test",
    "name_value",
    "path",
    "path_test",
    "path_value",
    "action",
    "argument",
    "group_traits",
)
EXACT: Final = frozenset({"name_value", "path", "path_value", "argument"})  # names match to the byte


# The fields whose change asks for the form again, and those whose change asks for the forecast alone.
SHAPES: Final = frozenset({"name_test", "path_test", "action"})
FORECASTS: Final = frozenset({"source", "is_enabled", "event_type", "name_value", "path", "path_value", "argument"})
PREVIEW: Final = {
    "hx-post": "",
    "hx-vals": '{"do": "preview"}',
    "hx-trigger": "change",
    "hx-sync": "closest form:replace",
}
WHOLE: Final = {**PREVIEW, "hx-target": "#rule", "hx-select": "#rule", "hx-swap": "outerHTML"}
FORECAST: Final = {
    **PREVIEW,
    "hx-target": "#forecast",
    "hx-select": "#forecast",
    "hx-select-oob": "#foretold",
    "hx-swap": "outerHTML",
}
BLANK_ROWS: Final = 2  # below the traits of a group


class TraitRows(forms.Widget):
    """Rows of a trait and its field, read from the lists `trait` and `trait_field` of a request."""

    def value_from_datadict(self, data: Any, _files: Any, _name: str) -> list[tuple[str, str]]:
        return list(zip(data.getlist("trait"), data.getlist("trait_field"), strict=False))

    def value_omitted_from_data(self, *_: Any) -> bool:
        return False  # no row means no trait


class TraitsField(forms.Field):
    """The traits that a group takes from fields of an event."""

    widget = TraitRows

    def prepare_value(self, value: Any) -> list[tuple[str, str]]:
        pairs = value.items() if isinstance(value, dict) else value or []
        return [*(pair for pair in pairs if any(pair)), *[("", "")] * BLANK_ROWS]

    def to_python(self, value: Any) -> dict[str, str]:
        pairs = [pair for pair in value or [] if any(pair)]
        if len(dict(pairs)) < len(pairs):
            raise forms.ValidationError("Enter each trait once.")
        return dict(pairs)


def make_field(field: Any, **options: Any) -> Any:
    return field.formfield(**({"strip": False} if field.name in EXACT else {}), **options)


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    event_type = forms.ChoiceField(choices=[("", "any"), *zip(ALL_TYPES, ALL_TYPES, strict=True)], required=False)
    group_traits = TraitsField(required=False)

    class Meta:
        model = Rule
        fields = FIELDS
        formfield_callback = make_field
        labels = {"name": "Name (optional)", "is_enabled": "Enabled"}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        fields: Any = self.fields
        fields["source"].queryset = self.instance.site.sources.order_by("pk")
        fields["source"].label_from_instance = lambda row: row.name
        fields["source"].empty_label = "all sources"
        fields["name_test"].choices = [("", "is anything"), *Rule.NameTest.choices]
        fields["path_test"].choices = [("", "any fields"), ("exists", "the field"), ("equals", "the field and value")]
        fields["action"].choices = [("", "choose what to do"), *list_action_choices()]
        for name, field in fields.items():
            field.widget.attrs |= WHOLE if name in SHAPES else FORECAST if name in FORECASTS else {}
        fields["action"].widget.attrs["hx-vals"] = '{"do": "preview", "argument": ""}'  # that of another action
        fields["path"].widget.attrs["placeholder"] = "properties.plan"
        if spec := self.spec:
            fields["argument"].widget.attrs["placeholder"] = spec.example

    @property
    def spec(self) -> ActionSpec | None:
        """Return the words for the action that is chosen, None if none is."""
        action = RULE_ACTIONS.get(str(self["action"].value()))
        return action.spec if action else None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self.forget_unused(cleaned)
        parts = {name: value for name, value in cleaned.items() if name != "source"}
        for name, message in find_problems(rule_of(Rule(**parts))).items():
            if name not in self.errors:
                self.add_error(name, message)
        rules = dict(self.instance.site.rules.values_list("pk", "action"))
        wrong = explain_too_many(
            ({**rules, self.instance.pk: cleaned.get("action", "")}).values(), before=rules.values()
        )
        if wrong:
            self.add_error(None, wrong)
        return cleaned

    def forget_unused(self, cleaned: dict[str, Any]) -> None:
        """Empty the fields that the choices do not need: without JavaScript they stay until the next page."""
        action = RULE_ACTIONS.get(cleaned.get("action", ""))
        needs = {
            "name_value": cleaned.get("name_test"),
            "path": cleaned.get("path_test"),
            "path_value": cleaned.get("path_test") == Rule.PathTest.EQUALS,
            "argument": action and action.spec.field,
            "group_traits": action == Rule.Action.GROUP_FROM,
        }
        for name in [name for name, is_needed in needs.items() if not is_needed]:
            cleaned[name] = {} if name == "group_traits" else ""
            self.errors.pop(name, None)

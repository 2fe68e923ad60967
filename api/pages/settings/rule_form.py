"""The form of a rule, whose values match to the byte."""

from json import JSONDecodeError, JSONDecoder
from typing import Any, Final

from django import forms

from api.digest.site_config import rule_of
from api.events.types import ALL_TYPES
from api.models import Rule
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


class ForgivingDecoder(JSONDecoder):
    """A decoder for which numbers and nests too large for Python are invalid JSON, so that the form reports them."""

    def decode(self, text: str, *args: Any) -> Any:
        try:
            return super().decode(text, *args)
        except (ValueError, RecursionError) as error:
            raise JSONDecodeError(str(error), "", 0) from error


def make_field(field: Any, **options: Any) -> Any:
    return field.formfield(**({"strip": False} if field.name in EXACT else {}), **options)


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    event_type = forms.ChoiceField(choices=[("", "any"), *zip(ALL_TYPES, ALL_TYPES, strict=True)], required=False)

    class Meta:
        model = Rule
        fields = FIELDS
        formfield_callback = make_field
        labels = {
            "is_enabled": "Enabled",
            "name_test": "Name test",
            "name_value": "Name value",
            "path": "Field",
            "path_test": "Field test",
            "path_value": "Field value",
        }
        widgets = {"group_traits": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["group_traits"].decoder = ForgivingDecoder  # type: ignore[attr-defined]  # of a JSONField
        source: Any = self.fields["source"]
        source.queryset = self.instance.site.sources.order_by("pk")
        source.label_from_instance = lambda row: row.name
        source.empty_label = "all sources"

    def clean_group_traits(self) -> dict[str, str]:
        traits = self.cleaned_data["group_traits"] or {}
        if not isinstance(traits, dict) or not all(isinstance(path, str) for path in traits.values()):
            raise forms.ValidationError('Enter the field of each trait: {"country": "properties.country"}.')
        if "\0" in "".join([*traits, *traits.values()]):
            raise forms.ValidationError("Null characters are not allowed.")
        return traits

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
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

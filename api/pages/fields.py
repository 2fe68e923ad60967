"""Form fields that Django lacks."""

from itertools import groupby
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

import zones

if TYPE_CHECKING:
    from django.contrib.postgres.fields import ArrayField


class LinesField(forms.CharField):
    """A list of strings, one per line, each to the byte; empty lines do not count."""

    def __init__(self, *, line_length: int, **options: Any) -> None:
        help_text = f"{options.pop('help_text', '')} One per line.".strip()
        super().__init__(widget=forms.Textarea(attrs={"rows": 3}), strip=False, help_text=help_text, **options)
        self.line_length = line_length

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """Return the lines. A field derived from CharField says `str`; its form reads a list from this one."""
        return [line for line in str(value or "").replace("\r\n", "\n").split("\n") if line]

    def run_validators(self, value: Any) -> None:
        for line in value:
            super().run_validators(line)
            if len(line) > self.line_length:
                raise ValidationError(f"A line may have {self.line_length} characters: {line[:50]}…")

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(list(initial or []) != self.to_python(data))


def lines_field(column: "ArrayField[Any, Any]") -> LinesField:
    """Return the form field of a column that holds a list of strings. A new row begins with the column's default."""
    return LinesField(
        line_length=column.base_field.max_length or 0,
        label=str(column.verbose_name).capitalize(),
        required=not column.blank,
        help_text=column.help_text,
        initial=column.get_default() if column.has_default() else None,
    )


class ZoneField(forms.ChoiceField):
    """A time zone by its name, grouped by its part of the world. `empty` is the label of no choice, if one may."""

    def __init__(self, *, empty: str = "", **options: Any) -> None:
        # When a form is made, because the names are read from hundreds of files.
        super().__init__(choices=lambda: self._list_choices(empty), required=not empty, **options)

    @staticmethod
    def _list_choices(empty: str) -> list[Any]:
        groups = groupby(zones.list_zones(), lambda name: name.partition("/")[0])
        # As places are spelled: "America/Argentina/Buenos_Aires" is "Argentina/Buenos Aires".
        named = [
            (group, [(name, name.partition("/")[2].replace("_", " ") or name) for name in names])
            for group, names in groups
        ]
        return [("", empty), *named] if empty else named

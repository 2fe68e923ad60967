"""Base of the forms that read query strings, and their fields: a value that is not valid counts as absent."""

import re
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone

LARGEST_ID: Final = 2**63 - 1
FIRST_DAY, LAST_DAY = date(1990, 1, 1), date(2200, 12, 31)
AS_SENT: Final = "%Y-%m-%dT%H:%M"  # by <input type="datetime-local">


class QueryForm(forms.Form):
    """A query string. No field is required; `values` has None, or an empty text, for what is absent or wrong."""

    use_required_attribute = False

    def full_clean(self) -> None:
        for field in self.fields.values():
            field.required = False
        super().full_clean()
        for name, field in self.fields.items():
            if self.cleaned_data.get(name) in (None, ""):
                empty = getattr(field, "empty_value", "" if isinstance(field, forms.ChoiceField) else None)
                self.cleaned_data[name] = field.initial or empty

    @cached_property
    def values(self) -> dict[str, Any]:
        """The valid values by field."""
        self.full_clean()
        return self.cleaned_data

    def raw(self, name: str) -> str:
        """Return what the query string says for a field, valid or not, without white space around it."""
        return str(self.data.get(name, "")).strip()


class IdField(forms.IntegerField):
    """The id of a row: ASCII digits that PostgreSQL's bigint holds."""

    def __init__(self) -> None:
        super().__init__(min_value=0, max_value=LARGEST_ID)

    def to_python(self, value: Any) -> int | None:
        if isinstance(value, str) and not (value.isascii() and value.isdigit()) and value:
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        number: int | None = super().to_python(value)
        return number


class DayField(forms.DateField):
    """A day as `<input type="date">` sends it."""

    def __init__(self) -> None:
        limits = [MinValueValidator(FIRST_DAY), MaxValueValidator(LAST_DAY)]
        super().__init__(input_formats=["%Y-%m-%d"], validators=limits)


HAS_OFFSET: Final = re.compile(r"(Z|[+-]\d\d:?\d\d)\s*$")


class TimeField(forms.DateTimeField):
    """A time with an offset, or in the zone of the page as `<input type="datetime-local">` sends it.

    Of a time that a clock shows twice it is the first.
    """

    widget = forms.DateTimeInput({"type": "datetime-local"}, format=AS_SENT)

    def to_python(self, value: Any) -> datetime | None:
        zone = timezone.get_current_timezone()
        with timezone.override(UTC):  # Django refuses times that the clock of a zone shows twice, or never
            at: datetime | None = super().to_python(value)
        try:
            if at and not HAS_OFFSET.search(str(value)):
                at = at.replace(tzinfo=zone)
            return at.astimezone(UTC) if at else None
        except OverflowError as error:  # the year 1 of New Zealand begins before UTC's
            raise ValidationError(self.error_messages["invalid"], code="invalid") from error


class PlaceTimeField(TimeField):
    """A time with an offset, as links to the next page have it."""

    def to_python(self, value: Any) -> datetime | None:
        if not HAS_OFFSET.search(str(value or "")):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


def read_id(text: str | None) -> int | None:
    """Return the id that a text says, or None."""
    try:
        return IdField().clean(text) if text else None
    except ValidationError:
        return None

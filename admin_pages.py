"""What the admin pages of every room share: lists of tables of any size, rows that nobody may edit, JSON to read."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from django import forms
from django.apps import apps
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.widgets import UnfoldAdminTextareaWidget

import names

Row = TypeVar("Row", bound=Model)

SECRET: Final = re.compile("password|secret|hash")  # fields that no log may hold
PLAIN: Final = (bool, int, str, dict, datetime, Decimal, type(None))
SHOWN: Final = 65_536  # characters of a body or a document on a page: Segment's largest events, indented
PARSED: Final = 1_048_576  # bytes that are read as JSON to be indented: the largest event
LIST_LIMIT: Final = 10_000  # a person does not turn more pages; search and filters lead further

if TYPE_CHECKING:
    from django.contrib.postgres.fields import ArrayField

    BaseAdmin = admin.ModelAdmin  # the theme's is untyped
    BaseInline = admin.TabularInline
    BasePaginator = Paginator
else:  # Django's classes take no type parameters at run time
    BaseInline = TabularInline

    class BaseAdmin(ModelAdmin):
        def __class_getitem__(cls, _row: object) -> type:
            return cls

    class BasePaginator(Paginator):
        def __class_getitem__(cls, _row: object) -> type:
            return cls


class Inline(BaseInline):  # type: ignore[type-arg]  # takes no parameters at run time
    """Rows of another table on a row's page."""


class BoundedPaginator(BasePaginator[Row]):
    """Pages over the first rows of a table that is too large to be counted."""

    limit = LIST_LIMIT

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        return rows.order_by()[: self.limit].count() if isinstance(rows, QuerySet) else len(rows)


class Noted:
    """Pages whose changes go into the log of what people changed, besides the table's own history."""

    # What keeps (request, row, what, before, after). The rooms below know no log: api.admin gives it.
    keep: ClassVar[Callable[..., None]]

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """As Django's, and remembers what changed for the log."""
        request.changed_fields = changed_fields(form, formsets or ())  # type: ignore[attr-defined]
        return super().construct_change_message(request, form, formsets, add)  # type: ignore[misc]

    def log_addition(self, request: HttpRequest, row: Any, message: Any) -> Any:
        _, after = getattr(request, "changed_fields", (None, None))
        self.note(request, row, f"Made {named(row)}", None, after)
        return super().log_addition(request, row, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, row: Any, message: Any) -> Any:
        """`message` is a sentence where a button did it."""
        is_sentence = isinstance(message, str)
        before, after = (None, None) if is_sentence else getattr(request, "changed_fields", (None, None))
        if is_sentence or after or message:
            what = f"{named(row)}: {message}" if is_sentence else f"Changed {named(row)}"
            self.note(request, row, what[:1].upper() + what[1:], before, after)
        return super().log_change(request, row, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, rows: Any) -> Any:
        """Called before they go."""
        for row in rows:
            columns = row._meta.concrete_fields  # noqa: SLF001 - documented
            before = {each.name: plain(getattr(row, each.attname)) for each in columns if not each.generated}
            self.note(request, row, f"Deleted {named(row)}", without_secrets(before), None)
        return super().log_deletions(request, rows)  # type: ignore[misc]

    def note(self, request: HttpRequest, row: Any, what: str, before: Any, after: Any) -> None:
        type(self).keep(request, row, what, before, after)


def named(row: Any) -> str:
    return f"the {row._meta.verbose_name} {row.pk} “{row}”"  # noqa: SLF001 - documented


def changed_fields(form: Any, formsets: Iterable[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the fields that changed, what was and what is now; those of an inline with their row."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for each in (form, *(one for formset in formsets for one in formset.forms)):
        row = "" if each is form else f"{each.instance} ({each.instance.pk}) "
        for name in each.changed_data:
            before[f"{row}{name}"] = plain(each.initial.get(name))
            after[f"{row}{name}"] = plain(each.cleaned_data.get(name))
    return without_secrets(before), without_secrets(after)


def without_secrets(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if not SECRET.search(name)}


def plain(value: Any) -> Any:
    """A value as the log can hold it."""
    if isinstance(value, Model):
        return f"{value.pk}: {value}"
    if isinstance(value, QuerySet | list | tuple):
        return [plain(each) for each in value]
    return value if isinstance(value, PLAIN) else str(value)


class Pages(Noted, BaseAdmin[Row]):
    """Pages whose address filters by what is offered only: most columns have no index, some cannot be compared."""

    # Django's act on a whole filtered table while its list shows, and asks about, the first rows: each row has its own
    # page, and a site's goals have a page of their own for many at once.
    actions: Any = None
    linked_lookups: tuple[str, ...] = ()  # what pages of ours link to besides

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:  # noqa: ARG002 - its caller looks
        """Whether a parameter of the list's address is one of its filters."""
        offered = set(self.linked_lookups)
        for each in self.list_filter:
            if isinstance(each, str):
                offered |= {f"{each}__exact", f"{each}__id__exact", f"{each}__isnull"}
            elif isinstance(each, type) and issubclass(each, admin.SimpleListFilter):
                offered.add(str(each.parameter_name))
        return lookup in offered

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Row], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        """Return the rows that have every word in one of `search_fields`, and that a row may come twice."""
        return names.search(queryset, search_term, *self.search_fields), True

    @admin.display(description="Site")
    def site_name(self, row: Any) -> str:
        return str(row.site.name)


class LargeTable(Pages[Row]):
    """A list that costs the same however many rows there are: newest first, never counted in full."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    ordering = ("-pk",)
    change_list_template = "admin/large_table.html"

    def find(self, rows: QuerySet[Row], term: str) -> QuerySet[Row]:  # noqa: ARG002
        """The rows that a person searching for `term` means, by an index; all where nothing can be searched."""
        return rows

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Row], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        """`find`, with whether it may give a row twice."""
        return self.find(queryset, search_term) if search_term else queryset, False


class ReadOnly(Pages[Row]):
    """Rows that events make: a person's edit would break a law, and a join of facts cannot be joined again."""

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _row: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Row | None = None) -> bool:
        return False


def site_ids() -> list[int]:
    """Every site: the large tables' indexes begin with one. One query."""
    return list(apps.get_model("api", "Site").objects.values_list("pk", flat=True))


def pretty(value: Any, *, most: int = SHOWN) -> tuple[str, bool]:
    """Return a value as indented JSON, its first `most` characters, and whether that is only a part.

    It is written piece by piece: with the indents of deep nesting 1 MB would become hundreds.
    """
    pieces, length = [], 0
    try:
        for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
            pieces.append(piece)
            length += len(piece)
            if length > most:
                break
        text = "".join(pieces)
    except RecursionError:  # what indents gives up earlier than what does not
        text = json.dumps(value, ensure_ascii=False)
    return text[:most], len(text) > most


def pretty_body(body: bytes, *, most: int = SHOWN) -> tuple[str, bool]:
    """Return the bytes of a request likewise: indented if they are JSON, otherwise unchanged."""
    if len(body) <= PARSED:
        try:
            return pretty(json.loads(body.decode(errors="backslashreplace")), most=most)
        except (ValueError, RecursionError):
            pass
    text = body[: most + 1].decode(errors="backslashreplace")
    return text[:most], len(text) > most


def show_json(value: Any) -> SafeString:
    """Show a value as indented JSON, escaped, or its beginning if it is long."""
    return show_part(*pretty(value))


def show_body(body: bytes) -> SafeString:
    """Show the bytes of a request as indented JSON if they are JSON, otherwise unchanged; escaped."""
    return show_part(*pretty_body(body))


def show_part(text: str, is_part: bool) -> SafeString:  # noqa: FBT001 - as `pretty` returns it
    """Show a text, and say so if it is only the beginning of a longer one."""
    if not is_part:
        return show_text(text)
    return format_html("{}<p>Only the first {} characters are shown.</p>", show_text(text), f"{len(text):,}")


def show_text(text: str) -> SafeString:
    """Show a text unchanged, escaped."""
    return format_html('<pre class="goalpost-text">{}</pre>', visible(text))


def visible(text: str) -> str:
    """Return a text with an escape in place of what has no bytes or ends strings elsewhere."""
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()


def show_copyable(text: str) -> SafeString:
    """A text with a button that copies it (api/static/api/copy.js)."""
    return format_html('<code>{}</code> <button type="button" class="button" data-copy="{}">Copy</button>', text, text)


def lines_field(column: "ArrayField[Any, Any]") -> "LinesField":
    """Return the form field of a column that holds a list of strings; a new row begins with the column's default."""
    return LinesField(
        line_length=column.base_field.max_length or 0,
        label=str(column.verbose_name).capitalize(),
        required=not column.blank,
        help_text=column.help_text,
        initial=column.get_default() if column.has_default() else None,
    )


class LinesField(forms.CharField):
    """A list of strings, one a line, each to the byte; empty lines do not count."""

    def __init__(self, *, line_length: int, **options: Any) -> None:
        super().__init__(
            widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
            **{**options, "strip": False, "help_text": f"{options.get('help_text', '')} One a line.".strip()},
        )
        self.line_length = line_length

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """The lines. A field of CharField's says `str`; its form reads a list from this one."""
        return [line for line in str(value or "").replace("\r\n", "\n").split("\n") if line]

    def run_validators(self, value: Any) -> None:
        for line in value:
            super().run_validators(line)
            if len(line) > self.line_length:
                raise ValidationError(f"A line may have {self.line_length} characters: {line[:50]}…")

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(list(initial or []) != self.to_python(data))

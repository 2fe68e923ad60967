"""What the admin pages of every room share: lists of tables of any size, rows that nobody may edit, JSON to read."""

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

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

Row = TypeVar("Row", bound=Model)

LIST_LIMIT: Final = 10_000  # a person does not turn more pages; search and filters lead further

if TYPE_CHECKING:
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


class Pages(BaseAdmin[Row]):
    """Pages whose address filters by what is offered only: most columns have no index, some cannot be compared."""

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

    actions = None

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _row: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Row | None = None) -> bool:
        return False


def site_ids() -> list[int]:
    """Every site: the large tables' indexes begin with one. One query."""
    return list(apps.get_model("api", "Site").objects.values_list("pk", flat=True))


def show_json(value: Any) -> SafeString:
    """A value as indented JSON, escaped."""
    try:
        return show_text(json.dumps(value, indent=2, ensure_ascii=False))
    except RecursionError:  # what indents gives up earlier than what does not
        return show_text(json.dumps(value, ensure_ascii=False))


def show_body(body: bytes) -> SafeString:
    """The bytes of a request as indented JSON when they are JSON, else as they stand, escaped."""
    text = body.decode(errors="backslashreplace")
    try:
        return show_json(json.loads(text))
    except (ValueError, RecursionError):
        return show_text(text)


def show_text(text: str) -> SafeString:
    """A text as it stands, escaped; what has no bytes or ends strings elsewhere is shown as an escape."""
    visible = text.replace("\0", "\\0").encode(errors="backslashreplace").decode()
    return format_html('<pre class="goalpost-text">{}</pre>', visible)


def show_copyable(text: str) -> SafeString:
    """A text with a button that copies it (api/static/api/copy.js)."""
    return format_html('<code>{}</code> <button type="button" class="button" data-copy="{}">Copy</button>', text, text)


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

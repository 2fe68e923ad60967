"""The database tables as lists for superusers. They are read-only: the pages of a site change what is in them.

Users, memberships and the removal of sites are the exceptions (api.pages.administration).
"""

from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from django.contrib import admin
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property

from api import models as api
from api.events.types import ALL_TYPES
from api.models.message_rows import find_by_keys
from api.pages.administration import MembershipAdmin, SiteAdmin, UserAdmin
from api.pages.sign_in import find_first_password, may_reset
from cohorts import models as cohorts
from goals import models as goals
from goals.flags import models as flags

Row = TypeVar("Row", bound=Model)

LIST_LIMIT: Final = 10_000  # a person does not turn more pages; search and filters lead further
FOR_MEMBERS: Final = frozenset({"logout", "password_change", "password_change_done"})
ON_FILTER: Final = ("", "__exact", "__id__exact", "__isnull", "__gte", "__lt")  # the lookups of Django's filters

if TYPE_CHECKING:
    BaseTable = admin.ModelAdmin
    BasePaginator = Paginator
else:  # these take no type parameters at run time

    class BaseTable(admin.ModelAdmin):
        def __class_getitem__(cls, _row: object) -> type:
            return cls

    class BasePaginator(Paginator):
        def __class_getitem__(cls, _row: object) -> type:
            return cls


class TablesSite(admin.AdminSite):
    """Django's admin for superusers. Everybody who is signed in may sign out and change their password in it."""

    login_form = AuthenticationForm  # members of sites need not be what Django calls staff
    login_template = "sign_in.html"
    logout_template = "signed_out.html"
    password_change_template = "password.html"  # noqa: S105 - a file
    password_change_done_template = "password_changed.html"  # noqa: S105 - a file
    site_header = site_title = "Goalpost"
    site_url = None  # there is no other site to view
    index_title = "Database tables"

    def has_permission(self, request: HttpRequest) -> bool:
        user, page = request.user, request.resolver_match
        return bool(user.is_active and (user.is_superuser or (page is not None and page.url_name in FOR_MEMBERS)))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        hints = {"first_password": find_first_password(), "may_reset": may_reset()}
        return super().login(request, {**hints, **(extra_context or {})})


class BoundedPaginator(BasePaginator[Row]):
    """Pages over the first rows of a table that is too large to be counted."""

    limit = LIST_LIMIT

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        return rows.order_by()[: self.limit].count() if isinstance(rows, QuerySet) else len(rows)


class Table(BaseTable[Row]):
    """A read-only list that costs the same for any number of rows: newest first, never counted in full."""

    actions: Any = None
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    sortable_by = ()
    ordering: ClassVar[Any] = ("-pk",)
    change_list_template = "admin/large_table.html"
    exclude: ClassVar[Any] = ()  # columns that are secret or may be large; no statement reads them
    only: ClassVar[Q] = Q()

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _row: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Row | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Row]:
        return super().get_queryset(request).filter(self.only).defer(*self.exclude)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:  # noqa: ARG002 - its caller looks
        """Allow the list's own filters only: most columns have no index, some cannot be compared."""
        return lookup in {f"{column}{suffix}" for column in self.list_filter for suffix in ON_FILTER}


class IndexedTable(Table[Row]):
    """A table of any size, searched for a whole value by an index that begins with the site."""

    before_value: ClassVar[dict[str, Any]] = {}  # conditions on the index's columns between site and value

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Row], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        if not search_term:
            return queryset, False
        sites = list(api.Site.objects.values_list("pk", flat=True))
        value = {self.search_fields[0]: search_term}
        return queryset.filter(site__in=sites, **self.before_value, **value), False


TABLES: Final = TablesSite()
TABLES.register(User, UserAdmin)
TABLES.register(api.Membership, MembershipAdmin)
TABLES.register(api.Site, SiteAdmin)


@admin.register(api.AuditEntry, site=TABLES)
class AuditEntryTable(Table[api.AuditEntry]):
    """Every change by people and programs. Entries without a site, as those of users, are in no other list."""

    list_display = ("id", "at", "site", "who", "what")
    list_select_related = ("site",)
    list_filter = ("at", "site")


@admin.register(api.Credential, site=TABLES)
class CredentialTable(Table[api.Credential]):
    list_display = ("__str__", "client_id", "scopes_in_words", "revoked_at", "created_at", "last_used_at")
    list_filter = ("created_at",)
    search_fields = ("name", "client_id")


@admin.register(api.Source, site=TABLES)
class SourceTable(Table[api.Source]):
    list_display = ("name", "site", "kind", "is_enabled", "takes_track", "created_at")
    list_filter = ("kind", "is_enabled", "created_at", "site")
    search_fields = ("name",)


@admin.register(api.Rule, site=TABLES)
class RuleTable(Table[api.Rule]):
    list_display = ("__str__", "site", "source", "position", "is_enabled", "event_type", "action", "argument")
    list_select_related = ("site", "source")
    list_filter = ("is_enabled", "action", "site")
    search_fields = ("name", "name_value", "argument")


@admin.register(api.DuplicateSources, site=TABLES)
class DuplicateSourcesTable(Table[api.DuplicateSources]):
    list_display = ("id", "site", "one", "other", "event_name", "count", "last_seen_at")
    list_filter = ("last_seen_at", "site")


@admin.register(api.Message, site=TABLES)
class MessageTable(Table[api.Message]):
    list_display = ("id", "received_at", "site", "type", "message_id", "status", "reason")
    list_filter = ("status", "site")
    search_fields = ("message_id",)
    search_help_text = "A whole messageId."
    exclude = ("detail",)
    ordering = ("-site", "-pk")  # as the key of the table

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[api.Message], search_term: str
    ) -> tuple[QuerySet[api.Message], bool]:
        """Use the keys, and the index of the rejected messages, which have none."""
        if not search_term:
            return queryset, False
        found = Q(pk=None)
        for site_id in api.Site.objects.values_list("pk", flat=True):
            keyed = find_by_keys(site_id, ((type_, search_term) for type_ in ALL_TYPES)).values()
            found |= Q(site_id=site_id, pk__in=list(keyed))
            found |= Q(site_id=site_id, status=api.Message.Status.REJECTED, message_id=search_term)
        return queryset.filter(found), False


@admin.register(api.Claim, site=TABLES)
class ClaimTable(Table[api.Claim]):
    list_display = ("worker", "claimed_at", "message_count", "server_started_at")

    @admin.display(description="Messages")
    def message_count(self, claim: api.Claim) -> int:
        return len(claim.message_ids)


@admin.register(api.Load, site=TABLES)
class LoadTable(Table[api.Load]):
    list_display = (
        "id",
        "file_name",
        "source",
        "lines",
        "stored",
        "duplicates",
        "rejected",
        "created_at",
        "finished_at",
    )
    list_filter = ("created_at",)


@admin.register(goals.Goal, site=TABLES)
class GoalTable(Table[goals.Goal]):
    list_display = ("name", "site", "type", "origin", "archived_at", "created_at")
    list_filter = ("origin", "created_at", "site")
    search_fields = ("name",)
    only = Q(deleted_at=None)


@admin.register(goals.Tag, site=TABLES)
class TagTable(Table[goals.Tag]):
    list_display = ("name", "site")
    list_filter = ("site",)
    search_fields = ("name",)


@admin.register(goals.GoalBinding, site=TABLES)
class GoalBindingTable(Table[goals.GoalBinding]):
    list_display = ("event_type", "event_name", "goal", "site")
    list_filter = ("site",)
    search_fields = ("event_name", "goal__name")


@admin.register(goals.Conversion, site=TABLES)
class ConversionTable(IndexedTable[goals.Conversion]):
    list_display = ("occurred_at", "goal", "visitor_code", "revenue", "currency", "value", "site")
    list_filter = ("site",)
    search_fields = ("visitor_code",)
    search_help_text = "A whole visitor code, or the user id or anonymous id in its place."
    exclude = ("properties",)
    only = Q(goal__deleted_at=None)


@admin.register(goals.GoalCreation, site=TABLES)
class GoalCreationTable(Table[goals.GoalCreation]):
    list_display = ("created_at", "site")
    list_filter = ("site",)


@admin.register(goals.WaitingName, site=TABLES)
class WaitingNameTable(Table[goals.WaitingName]):
    list_display = ("name", "event_type", "site", "has_goal", "arrival", "created_at")
    list_filter = ("has_goal", "site")
    search_fields = ("name",)


@admin.register(cohorts.Identity, site=TABLES)
class IdentityTable(IndexedTable[cohorts.Identity]):
    list_display = ("value", "kind", "parent_kind", "parent_value", "site", "updated_at")
    list_filter = ("kind", "site")
    search_fields = ("value",)
    search_help_text = "A whole user id, visitor code or anonymous id."
    before_value = {"kind__in": cohorts.Identity.Kind.values}
    exclude = ("registers",)


@admin.register(cohorts.Persona, site=TABLES)
class PersonaTable(Table[cohorts.Persona]):
    list_display = ("name", "site", "created_at")
    list_filter = ("created_at", "site")
    search_fields = ("name",)


@admin.register(cohorts.Group, site=TABLES)
class GroupTable(IndexedTable[cohorts.Group]):
    list_display = ("group_id", "site", "updated_at")
    list_filter = ("site",)
    search_fields = ("group_id",)
    search_help_text = "A whole group id."
    exclude = ("registers",)


@admin.register(cohorts.Username, site=TABLES)
class UsernameTable(IndexedTable[cohorts.Username]):
    list_display = ("name", "user_value", "site")
    list_filter = ("site",)
    search_fields = ("name",)
    search_help_text = "A whole username."


@admin.register(cohorts.CustomData, site=TABLES)
class CustomDataTable(Table[cohorts.CustomData]):
    list_display = ("index", "name", "site", "type", "format", "scope", "is_mapping_identifier", "filled_from")
    list_filter = ("filled_from", "scope", "site")
    search_fields = ("name",)


@admin.register(cohorts.OwnKey, site=TABLES)
class OwnKeyTable(IndexedTable[cohorts.OwnKey]):
    list_display = ("key", "site", "updated_at", "expires_at")
    list_filter = ("site",)
    search_fields = ("key",)
    search_help_text = "A whole key."
    exclude = ("document",)


@admin.register(flags.FeatureFlag, site=TABLES)
class FeatureFlagTable(Table[flags.FeatureFlag]):
    list_display = ("key", "site", "version", "enabled_in", "updated_at")
    list_filter = ("updated_at", "site")
    search_fields = ("key",)

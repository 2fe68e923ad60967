"""The admin pages of people, to be read: identities with what was said of them, personas, groups and usernames."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

import names
from admin_pages import LargeTable, ReadOnly, show_json, site_ids
from cohorts.models import Group, Identity, Persona, Username


@admin.register(Identity)
class IdentityAdmin(ReadOnly[Identity], LargeTable[Identity]):
    list_display = ("value", "kind", "points_at", "site_name", "updated_at")
    list_filter = ("kind", "site")
    list_select_related = ("site",)
    sortable_by = ()
    search_fields = ("value",)
    search_help_text = "A whole user id, visitor code or anonymous id."
    fields = ("site", "kind", "value", "points_at", "registers_shown", "created_at", "updated_at")
    readonly_fields = ("points_at", "registers_shown")

    class Media:
        css = {"all": ("api/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Identity]:
        """Leave out what may be large; the page of one row reads it."""
        return super().get_queryset(request).defer("registers")

    def find(self, rows: QuerySet[Identity], term: str) -> QuerySet[Identity]:
        return rows.filter(site__in=site_ids(), kind__in=Identity.Kind.values, value=term)

    @admin.display(description="Points at")
    def points_at(self, identity: Identity) -> str:
        if identity.parent_kind is None:
            return "–"
        return f"{Identity.Kind(identity.parent_kind).label} {identity.parent_value}"

    @admin.display(description="Registers: [microseconds since 1970, position, messageId, value]")
    def registers_shown(self, identity: Identity) -> SafeString:
        return show_json(identity.registers)


@admin.register(Persona)
class PersonaAdmin(ReadOnly[Persona], LargeTable[Persona]):
    list_display = ("name", "site_name", "created_at")
    list_filter = ("site",)
    list_select_related = ("site",)
    sortable_by = ()
    search_fields = ("name",)

    def find(self, rows: QuerySet[Persona], term: str) -> QuerySet[Persona]:
        return names.search(rows, term, "name")


@admin.register(Group)
class GroupAdmin(ReadOnly[Group], LargeTable[Group]):
    list_display = ("group_id", "site_name", "updated_at")
    list_filter = ("site",)
    list_select_related = ("site",)
    sortable_by = ()
    search_fields = ("group_id",)
    search_help_text = "A whole group id."
    fields = ("site", "group_id", "registers_shown", "created_at", "updated_at")
    readonly_fields = ("registers_shown",)

    class Media:
        css = {"all": ("api/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        """Leave out what may be large, likewise."""
        return super().get_queryset(request).defer("registers")

    def find(self, rows: QuerySet[Group], term: str) -> QuerySet[Group]:
        return rows.filter(site__in=site_ids(), group_id=term)

    @admin.display(description="Traits: [microseconds since 1970, position, messageId, value]")
    def registers_shown(self, group: Group) -> SafeString:
        return show_json(group.registers)


@admin.register(Username)
class UsernameAdmin(ReadOnly[Username], LargeTable[Username]):
    list_display = ("name", "user_value", "site_name")
    list_filter = ("site",)
    list_select_related = ("site",)
    sortable_by = ()
    search_fields = ("name",)
    search_help_text = "A whole username."

    def find(self, rows: QuerySet[Username], term: str) -> QuerySet[Username]:
        return rows.filter(site__in=site_ids(), name=term)

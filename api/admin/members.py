"""Who there is, who belongs to which site, and what they changed."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from admin_pages import LargeTable, Noted, Pages, ReadOnly
from api.models import AuditEntry, Membership


@admin.register(Membership)
class MembershipAdmin(Pages[Membership]):
    """People with their roles; the site's own page of settings offers the same to its owners."""

    list_display = ("user", "site_name", "role", "created_at")
    list_filter = ("role", "site")
    list_select_related = ("user", "site")
    search_fields = ("user__username", "user__email")
    autocomplete_fields = ("user",)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly[AuditEntry], LargeTable[AuditEntry]):
    """What people and their programs changed, everywhere; what belongs to no site, as users do, only here."""

    list_display = ("id", "at", "site_name", "who", "what")
    list_filter = ("site",)
    list_select_related = ("site",)
    sortable_by = ()

    @admin.display(description="Site")
    def site_name(self, row: Any) -> str:
        return str(row.site.name) if row.site else "–"


admin.site.unregister([User, Group])


@admin.register(User)
class NotedUserAdmin(Noted, UserAdmin, ModelAdmin):  # type: ignore[type-arg,misc]  # no parameters at run time; untyped
    """People who may sign in."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class NotedGroupAdmin(Noted, GroupAdmin, ModelAdmin):  # type: ignore[misc]  # the theme's is untyped
    """Sets of permissions to these tables."""

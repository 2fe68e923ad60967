"""Who belongs to which site, and what they changed."""

from django.contrib import admin

from admin_pages import LargeTable, Pages, ReadOnly
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
    """What people changed in the pages of sites; what they change in these tables, the history of each row tells."""

    list_display = ("id", "at", "site_name", "who", "what")
    list_filter = ("site",)
    list_select_related = ("site",)
    sortable_by = ()

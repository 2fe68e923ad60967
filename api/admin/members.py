"""Who belongs to which site."""

from django.contrib import admin

from admin_pages import Pages
from api.models import Membership


@admin.register(Membership)
class MembershipAdmin(Pages[Membership]):
    """People with their roles; the site's own page of settings offers the same to its owners."""

    list_display = ("user", "site_name", "role", "created_at")
    list_filter = ("role", "site")
    list_select_related = ("user", "site")
    search_fields = ("user__username", "user__email")
    autocomplete_fields = ("user",)

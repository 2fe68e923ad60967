"""Who there is, who belongs to which site, and what they changed."""

from collections.abc import Collection
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from admin_pages import LargeTable, Noted, Pages, ReadOnly
from api.audit import note
from api.http.tokens import describe, ended, tokens_that_end
from api.models import AuditEntry, ManagementToken, Membership


@admin.register(Membership)
class MembershipAdmin(Pages[Membership]):
    """People with their roles; the site's own page of settings offers the same to its owners."""

    def get_deleted_objects(self, rows: Any, request: HttpRequest) -> Any:
        """Name the tokens that end with memberships on the page that asks whether to delete them."""
        to_delete, *others = super().get_deleted_objects(rows, request)
        ending = [token for row in rows for token in tokens_that_end([row.user_id], site=row.site)]
        return [*to_delete, *map(will_end, ending)], *others

    def log_deletions(self, request: HttpRequest, rows: Any) -> Any:
        for row in rows:
            for token in tokens_that_end([row.user_id], site=row.site):
                what = f"Ended the management token {token.pk} of {row.user} here"
                note(request, row.site, what, describe(token), None)
        return super().log_deletions(request, rows)

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

    actions = None
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    fieldsets = (*(UserAdmin.fieldsets or ()), ("Programs", {"fields": ("tokens",)}))
    readonly_fields = ("tokens",)

    def save_model(self, request: HttpRequest, user: User, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Save a user, and say which tokens end because they were deactivated."""
        ending = (
            tokens_that_end([user.pk]) if change and "is_active" in form.changed_data and not user.is_active else []
        )
        super().save_model(request, user, form, change)
        note_end(request, ending)
        if ending:
            told = f"{ended(ending, user.get_username())}. An owner of their sites can take one over under Tokens."
            self.message_user(request, told, messages.WARNING)

    def get_deleted_objects(self, users: Any, request: HttpRequest) -> Any:
        """Name the tokens that end with users on the page that asks whether to delete them."""
        to_delete, *others = super().get_deleted_objects(users, request)
        ending = tokens_that_end([user.pk for user in users])
        return [*to_delete, *map(will_end, ending)], *others

    def log_deletions(self, request: HttpRequest, users: Any) -> Any:
        note_end(request, tokens_that_end([user.pk for user in users]))
        return super().log_deletions(request, users)

    @admin.display(description="Management tokens")
    def tokens(self, user: User) -> str:
        """Name the tokens that end when this user is deactivated or deleted."""
        ending = tokens_that_end([user.pk]) if user.pk else []
        named = "; ".join(f"“{token}” of {', '.join(site.name for site in token.sites.all())}" for token in ending)
        if not named:
            return "none"
        return f"{named}. They end when this user is deactivated or deleted, unless an owner takes them over."


def will_end(token: ManagementToken) -> str:
    return f"Management token “{token}” of {', '.join(site.name for site in token.sites.all())}: it ends"


def note_end(request: HttpRequest, tokens: Collection[ManagementToken]) -> None:
    """Write into the log of each site that tokens for it ended with their user."""
    for token in tokens:
        for site in token.sites.all():
            note(request, site, f"Ended the management token {token.pk} of {token.user}", describe(token), None)


@admin.register(Group)
class NotedGroupAdmin(Noted, GroupAdmin, ModelAdmin):  # type: ignore[misc]  # the theme's is untyped
    """Sets of permissions to these tables."""

    actions = None

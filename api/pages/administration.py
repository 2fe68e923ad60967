"""Forms of superusers for users and memberships, and the removal of sites. Changes are audited."""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from api.erasure import removal
from api.http.tokens import describe, ended, tokens_that_end
from api.http.wording import count_of
from api.models import ManagementToken, Membership, Removal, Site
from api.models.audit import write_audit
from api.pages.access import show

Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin
else:  # it takes no type parameters at run time

    class BaseAdmin(admin.ModelAdmin):
        def __class_getitem__(cls, _row: object) -> type:
            return cls


class AuditedAdmin(BaseAdmin[Row]):
    """A table whose changes also enter the audit log, of the row's site if it has one."""

    actions = None  # Django's delete more rows than the list shows

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Write the audit entry too: Django calls this after each form is saved, also after a password's."""
        row = getattr(form, "instance", None) or form.user
        names = [name for name in form.changed_data if "password" not in name]
        after = {name: to_audit_value(form.cleaned_data.get(name)) for name in names}
        before = None if add else {name: to_audit_value(form.initial.get(name)) for name in names}
        if form.changed_data:
            write_audit(request.user, site_of(row), f"{'Created' if add else 'Changed'} {name_row(row)}", before, after)
        return super().construct_change_message(request, form, formsets, add)

    def log_deletions(self, request: HttpRequest, rows: Any) -> Any:
        """Write the audit entries too: Django calls this before it deletes the rows."""
        for row in rows:
            columns = [field for field in row._meta.concrete_fields if field.name != "password"]  # noqa: SLF001 - documented
            before = {field.name: to_audit_value(getattr(row, field.attname)) for field in columns}
            write_audit(request.user, site_of(row), f"Deleted {name_row(row)}", before, None)
        return super().log_deletions(request, rows)


def site_of(row: Model) -> Site | None:
    return row if isinstance(row, Site) else getattr(row, "site", None)


def name_row(row: Model) -> str:
    return f"the {row._meta.verbose_name} {row.pk} “{row}”"  # noqa: SLF001 - documented


def to_audit_value(value: Any) -> Any:
    if isinstance(value, Model):
        return f"{value.pk}: {value}"
    return value if isinstance(value, bool | int | str | list | datetime | None) else str(value)


class MembershipAdmin(AuditedAdmin[Membership]):
    """People with their roles in all sites; owners have a page for those of their own site."""

    list_display = ("user", "site", "role", "created_at")
    list_filter = ("role", "created_at", "site")
    list_select_related = ("user", "site")
    search_fields = ("user__username", "user__email")
    autocomplete_fields = ("user",)

    def get_deleted_objects(self, rows: Any, request: HttpRequest) -> Any:
        """Name the tokens that end with memberships on the page that asks whether to delete them."""
        to_delete, *others = super().get_deleted_objects(rows, request)
        ending = [token for row in rows for token in tokens_that_end([row.user_id], site=row.site)]
        return [*to_delete, *map(announce_end, ending)], *others

    def log_deletions(self, request: HttpRequest, rows: Any) -> Any:
        for row in rows:
            for token in tokens_that_end([row.user_id], site=row.site):
                action = f"Ended the management token {token.pk} of {row.user} here"
                write_audit(request.user, row.site, action, describe(token), None)
        return super().log_deletions(request, rows)


class UserAdmin(BaseUserAdmin, AuditedAdmin[User]):  # type: ignore[type-arg]  # no parameters at run time
    """People who may sign in."""

    list_display = ("username", "email", "first_name", "last_name", "is_active", "is_superuser", "last_login")
    list_filter = ("is_superuser", "is_active", "date_joined")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Access", {"fields": ("is_active", "is_superuser", "tokens")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("tokens", "last_login", "date_joined")

    def save_model(self, request: HttpRequest, user: User, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Save a user. Name the tokens that end because the user was deactivated."""
        is_deactivated = change and "is_active" in form.changed_data and not user.is_active
        ending = tokens_that_end([user.pk]) if is_deactivated else []
        super().save_model(request, user, form, change)
        audit_end(request, ending)
        if ending:
            warning = f"{ended(ending, user.get_username())}. An owner of their sites can take one over under Tokens."
            self.message_user(request, warning, messages.WARNING)

    def get_deleted_objects(self, users: Any, request: HttpRequest) -> Any:
        """Name the tokens that end with users on the page that asks whether to delete them."""
        to_delete, *others = super().get_deleted_objects(users, request)
        ending = tokens_that_end([user.pk for user in users])
        return [*to_delete, *map(announce_end, ending)], *others

    def log_deletions(self, request: HttpRequest, users: Any) -> Any:
        audit_end(request, tokens_that_end([user.pk for user in users]))
        return super().log_deletions(request, users)

    @admin.display(description="Management tokens")
    def tokens(self, user: User) -> str:
        """Name the tokens that end when this user is deactivated or deleted."""
        ending = tokens_that_end([user.pk]) if user.pk else []
        named = "; ".join(f"“{token}” of {', '.join(site.name for site in token.sites.all())}" for token in ending)
        if not named:
            return "none"
        return f"{named}. They end when this user is deactivated or deleted, unless an owner takes them over."


def announce_end(token: ManagementToken) -> str:
    return f"Management token “{token}” of {', '.join(site.name for site in token.sites.all())}: it ends"


def audit_end(request: HttpRequest, tokens: Collection[ManagementToken]) -> None:
    """Write an entry into the log of each site of tokens that ended with their user."""
    for token in tokens:
        for site in token.sites.all():
            write_audit(
                request.user, site, f"Ended the management token {token.pk} of {token.user}", describe(token), None
            )


class SiteAdmin(AuditedAdmin[Site]):
    """Sites, which are removed here. A new one is made on its page (api.pages.new_site)."""

    list_display = ("name", "sitecode", "created_at", "state")
    list_filter = ("created_at",)
    search_fields = ("name", "sitecode")
    fields = ("name", "sitecode", "time_zone")

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _site: Site | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Site]:
        rows: QuerySet[Site] = super().get_queryset(request)
        return rows.prefetch_related("removals")

    def delete_view(
        self, request: HttpRequest, object_id: str, _extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show in figures what is lost with a site; remove it if its sitecode is posted."""
        site = self.get_object(request, object_id)
        if site is None:
            raise Http404
        if not self.has_delete_permission(request, site):
            raise PermissionDenied
        if request.method == "POST" and request.POST.get("sitecode", "").strip() == site.sitecode:
            return self._remove(request, site)
        if request.method == "POST":
            messages.error(request, "Nothing was removed. Type the sitecode exactly as shown.")
        return show(
            request,
            "admin/remove_site.html",
            title=f"Remove the site {site.name}",
            site=site,
            rows=removal.count_rows(site).items(),
            most=removal.MOST_COUNTED,
            going=site.removals.filter(of=Removal.Of.SITE).first(),
        )

    def _remove(self, request: HttpRequest, site: Site) -> HttpResponse:
        name, sitecode = site.name, site.sitecode
        with transaction.atomic():
            action = f"Began to remove the site {sitecode}"
            write_audit(request.user, None, action, {"name": name, **removal.count_rows(site)}, None)
            has_begun = removal.remove_site(site, by=request.user.get_username(), now=timezone.now())
        state = "A worker removes it now. Its events are refused." if has_begun else "It was empty and is gone."
        messages.success(request, f"{name}: {state}")
        return redirect("admin:api_site_changelist")

    @admin.display(description="State")
    def state(self, site: Site) -> str:
        going = next((row for row in site.removals.all() if row.of == Removal.Of.SITE), None)
        return f"is being removed, {count_of(going.rows, 'row')} so far" if going else ""

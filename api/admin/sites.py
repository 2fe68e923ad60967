"""Sites: how each reads its events, and who sends them."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from admin_pages import Inline, Pages, lines_field, show_copyable
from api.audit import note
from api.erasure import removal
from api.http.credentials import generate_sitecode
from api.ingest.provisioning import add_destination, note_rules_changed
from api.models import Removal, Site, Source

if TYPE_CHECKING:
    from django.db.models import Field


class SourcesOfSite(Inline):
    model = Source
    fields = ("name", "kind", "is_enabled", "takes_track")
    readonly_fields = ("kind",)
    extra = 0
    max_num = 0
    can_delete = False


@admin.register(Site)
class SiteAdmin(Pages[Site]):
    """A new site gets its Segment destination. One is removed by administrators, in the background."""

    list_display = ("name", "sitecode", "created_at", "state")
    actions = None
    search_fields = ("name", "sitecode")
    fieldsets = (
        (None, {"fields": ("name", "code_to_copy", "created_at")}),
        ("Remote data", {"fields": ("public_traits", "requires_token", "company_is_group")}),
        (
            "Goals and conversions",
            {
                "fields": (
                    "goal_name_template",
                    "auto_tag",
                    "default_currency",
                    "user_id_is_visitor_code",
                    "names_pages_by_title",
                    "audience_events_make_goals",
                )
            },
        ),
        (
            "Limits on goals that events make",
            {"fields": ("goals_per_10_seconds", "goals_per_hour", "max_waiting_names")},
        ),
        (
            "Event names with a meaning",
            {"fields": ("entered_event_names", "exited_event_names", "link_event_names", "trait_event_names")},
        ),
    )
    new_fieldsets = ((None, {"fields": ("name", "sitecode")}), *fieldsets[1:])
    readonly_fields = ("code_to_copy", "created_at")

    class Media:
        css = {"all": ("api/admin.css",)}
        js = ("api/copy.js",)

    def get_fieldsets(self, _request: HttpRequest, site: Site | None = None) -> Any:
        return self.fieldsets if site else self.new_fieldsets

    def get_changeform_initial_data(self, _request: HttpRequest) -> dict[str, Any]:
        return {"sitecode": generate_sitecode()}

    def get_inlines(self, _request: HttpRequest, site: Site | None) -> Any:
        return (SourcesOfSite,) if site else ()

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **options: Any) -> Any:
        if not isinstance(db_field, ArrayField):
            return super().formfield_for_dbfield(db_field, request, **options)
        return lines_field(db_field)

    def save_model(self, request: HttpRequest, site: Site, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        super().save_model(request, site, form, change)
        if not change:
            add_destination(site)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        super().save_formset(request, form, formset, change)
        if any("takes_track" in each.changed_data for each in formset.forms):
            note_rules_changed(form.instance.pk, now=timezone.now())

    def has_delete_permission(self, request: HttpRequest, _site: Site | None = None) -> bool:
        return bool(request.user.is_superuser)

    def delete_view(
        self, request: HttpRequest, object_id: str, _extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Say what is lost with a site, in figures; and, posted with its sitecode, remove it."""
        site = self.get_object(request, object_id)
        if site is None:
            raise Http404
        if not self.has_delete_permission(request, site):
            raise PermissionDenied
        if request.method == "POST" and request.POST.get("sitecode", "").strip() == site.sitecode:
            return self._remove(request, site)
        if request.method == "POST":
            messages.error(request, "Nothing was removed: type the sitecode as it is written below.")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Remove the site {site.name}",
            "opts": self.opts,
            "site": site,
            "rows": removal.count_rows(site).items(),
            "most": removal.MOST_COUNTED,
            "going": site.removals.filter(of=Removal.Of.SITE).first(),
        }
        return TemplateResponse(request, "admin/remove_site.html", context)

    def _remove(self, request: HttpRequest, site: Site) -> HttpResponse:
        name, sitecode = site.name, site.sitecode
        with transaction.atomic():
            what = f"Began to remove the site {sitecode}"
            note(request, None, what, {"name": name, **removal.count_rows(site)}, None)
            begun = removal.remove_site(site, by=request.user.get_username(), now=timezone.now())
        state = "A worker removes it now; nothing comes in any more." if begun else "It was empty and is gone."
        messages.success(request, f"{name}: {state}")
        return redirect("admin:api_site_changelist")

    @admin.display(description="State")
    def state(self, site: Site) -> str:
        begun = next((each for each in site.removals.all() if each.of == Removal.Of.SITE), None)
        return f"is being removed, {begun.rows:,} rows so far" if begun else ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Site]:
        return super().get_queryset(request).prefetch_related("removals")

    @admin.display(description="Sitecode")
    def code_to_copy(self, site: Site) -> SafeString:
        return show_copyable(site.sitecode)

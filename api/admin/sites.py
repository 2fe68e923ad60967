"""Sites: how each reads its events, and who sends them."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.postgres.fields import ArrayField
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from admin_pages import Inline, Pages, lines_field, show_copyable
from api.access import generate_sitecode
from api.models import Site, Source
from api.sites import add_destination, note_rules_changed

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
    """A new site gets its Segment destination. None is deleted here: its messages and conversions may be millions."""

    list_display = ("name", "sitecode", "created_at")
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

    def has_delete_permission(self, _request: HttpRequest, _site: Site | None = None) -> bool:
        return False

    @admin.display(description="Sitecode")
    def code_to_copy(self, site: Site) -> SafeString:
        return show_copyable(site.sitecode)

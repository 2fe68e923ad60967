"""Sources: who sends, with which keys, what came through each, and which two send the same."""

from datetime import timedelta
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from admin_pages import Inline, Pages, ReadOnly, show_copyable
from api.ingest.provisioning import equip_source, note_rules_changed, revoke_write_key, rotate_write_key
from api.ingest.source_counts import Figures, figures
from api.models import Rule, Source, Twin, WriteKey
from api.models.budgets import FIELDS

DAY: Final = timedelta(hours=24)
OVERLAP: Final = timedelta(hours=24)


class ToRead(Inline):
    """Rows that belong to a page and are not changed there."""

    extra = 0
    max_num = 0
    can_delete = False

    def has_change_permission(self, _request: HttpRequest, _row: Any = None) -> bool:
        return False


class KeysOfSource(ToRead):
    model = WriteKey
    fields = ("key_to_copy", "created_at", "ends_at")
    readonly_fields = fields

    @admin.display(description="Key")
    def key_to_copy(self, key: WriteKey) -> SafeString:
        return show_copyable(key.key)


class RulesOfSource(ToRead):
    model = Rule
    fields = ("position", "is_enabled", "action", "argument")
    readonly_fields = fields
    verbose_name_plural = "Rules for its events alone; those of the whole site hold as well"
    show_change_link = True


@admin.register(Source)
class SourceAdmin(Pages[Source]):
    """Senders. Switched off rather than deleted: their messages name them."""

    list_display = ("name", "site_name", "kind", "is_enabled", "takes_track", "last_seen", "came_in_a_day")
    list_filter = ("kind", "is_enabled", "site")
    list_select_related = ("site",)
    search_fields = ("name", "write_keys__key")
    new_fields = ("site", "name", "kind", "is_enabled", "takes_track", *FIELDS)
    readonly_fields = ("created_at", "last_seen", "came_in_a_day", "came_in_ever", "sent_twice")
    change_form_template = "admin/api/source/change_form.html"

    class Media:
        css = {"all": ("api/admin.css",)}
        js = ("api/copy.js",)

    def get_fields(self, _request: HttpRequest, source: Source | None = None) -> Any:
        return (*self.new_fields, *self.readonly_fields) if source else self.new_fields

    def get_readonly_fields(self, _request: HttpRequest, source: Source | None = None) -> Any:
        return ("site", "kind", *self.readonly_fields) if source else self.readonly_fields

    def get_inlines(self, _request: HttpRequest, source: Source | None) -> Any:
        return (KeysOfSource, RulesOfSource) if source else ()

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The list with the figures of its rows. Two queries more."""
        changelist = super().get_changelist_instance(request)
        add_figures(list(changelist.result_list))
        return changelist

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Source | None:
        source = super().get_object(request, object_id, from_field)
        if source:
            add_figures([source])
        return source

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        is_live = Q(ends_at=None) | Q(ends_at__gt=timezone.now())
        keys = WriteKey.objects.filter(is_live).order_by("pk")
        # Asked for by the template alone, when the id has turned out to be one.
        context = {**(extra_context or {}), "live_keys": lambda: keys.filter(source__pk=unquote(object_id))}
        return super().change_view(request, object_id, form_url, context)

    def save_model(self, request: HttpRequest, source: Source, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        super().save_model(request, source, form, change)
        if not change:
            equip_source(source)
        if "takes_track" in form.changed_data:
            note_rules_changed(source.site_id, now=timezone.now())

    def response_change(self, request: HttpRequest, source: Source) -> HttpResponse:
        if "_rotate" in request.POST:
            self.rotate(request, source)
            return HttpResponseRedirect(request.path)
        if "_revoke" in request.POST:
            for key in [key for key in source.write_keys.all() if key.key == request.POST["_revoke"]]:
                revoke_write_key(key, now=timezone.now())
                self.log_change(request, source, f"Revoked the write key that begins with {key.key[:4]}.")
                self.message_user(request, "Revoked: it is refused everywhere within 5 seconds.", messages.SUCCESS)
            return HttpResponseRedirect(request.path)
        return super().response_change(request, source)

    def rotate(self, request: HttpRequest, source: Source) -> None:
        """Make a new write key beside the old ones."""
        rotate_write_key(source, overlap=OVERLAP, now=timezone.now())
        self.log_change(request, source, "Made a new write key.")
        self.message_user(
            request, "There is a new key. Give it to the senders: the old ones end in 24 hours.", messages.SUCCESS
        )

    def has_delete_permission(self, _request: HttpRequest, _source: Source | None = None) -> bool:
        return False

    @admin.display(description="Last seen")
    def last_seen(self, source: Source) -> str:
        last = figures_of(source, "ever").last_received_at
        return f"{last:%Y-%m-%d %H:%M:%S} UTC" if last else "never"

    @admin.display(description="In 24 hours")
    def came_in_a_day(self, source: Source) -> str:
        return in_words(figures_of(source, "day"))

    @admin.display(description="Of all time")
    def came_in_ever(self, source: Source) -> str:
        return in_words(figures_of(source, "ever"))

    @admin.display(description="Sent twice")
    def sent_twice(self, source: Source) -> SafeString | str:
        twins = Twin.objects.filter(Q(one=source) | Q(other=source)).select_related("one", "other").order_by("pk")
        told = (
            "“{}” sends the same events as this source: {} times so far, the latest “{}” on {} UTC. "
            "Each counted twice: switch off <em>takes track</em> at one of the two."
        )
        sentences = [
            (
                twin.other if twin.one_id == source.pk else twin.one,
                twin.count,
                twin.event_name,
                f"{twin.last_seen_at:%Y-%m-%d %H:%M:%S}",
            )
            for twin in twins
        ]
        return format_html_join(SafeString("<br>"), told, sentences) or "–"


@admin.register(Twin)
class TwinAdmin(ReadOnly[Twin]):
    """Pairs of sources that send the same."""

    list_display = ("id", "site_name", "one", "other", "event_name", "count", "last_seen_at")
    list_filter = ("site",)
    list_select_related = ("site", "one", "other")
    ordering = ("-last_seen_at",)


def add_figures(sources: list[Source]) -> None:
    """Have sources know what came through them. Two queries."""
    ids = [source.pk for source in sources]
    ever, day = figures(ids), figures(ids, since=timezone.now() - DAY)
    for source in sources:
        vars(source).update(ever=ever.get(source.pk, Figures()), day=day.get(source.pk, Figures()))


def figures_of(source: Source, span: str) -> Figures:
    """What `add_figures` found."""
    found: Figures = getattr(source, span)
    return found


def in_words(came: Figures) -> str:
    return f"{came.received:,} received, {came.duplicates:,} of them duplicates, {came.rejected:,} rejected"

"""The admin pages of the door: sites, credentials, sources, and the inbox."""

from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.postgres.fields import ArrayField
from django.db.models import Field, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from admin_pages import LargeTable, LinesField, Pages, ReadOnly, show_body, show_copyable, show_text, site_ids
from api.access import api_key, generate_secret, generate_sitecode
from api.ingest.wire import TYPES
from api.models import Claim, Credential, Message, Site, Source, WriteKey
from api.reasons import FAILURES, WARNINGS
from api.sites import add_destination, equip_source, renew_secret

admin.site.site_header = admin.site.site_title = "Goalpost"
admin.site.site_url = None  # there is no other site to view
admin.site.index_title = "What came in, what it did, and who may send and read"

FAILED: Final = (Message.Status.REJECTED, Message.Status.DEAD)


class SourcesOfSite(admin.TabularInline):  # type: ignore[type-arg]  # takes no parameters at run time
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
        return LinesField(
            line_length=db_field.base_field.max_length or 0,
            label=str(db_field.verbose_name).capitalize(),
            required=not db_field.blank,
            help_text=db_field.help_text,
        )

    def save_model(self, request: HttpRequest, site: Site, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        super().save_model(request, site, form, change)
        if not change:
            add_destination(site)

    def has_delete_permission(self, _request: HttpRequest, _site: Site | None = None) -> bool:
        return False

    @admin.display(description="Sitecode")
    def code_to_copy(self, site: Site) -> SafeString:
        return show_copyable(site.sitecode)


@admin.register(Credential)
class CredentialAdmin(Pages[Credential]):
    """Client ids. A secret is told on the page that answers its making, and nowhere else: not in a message either,
    which would lie in a cookie or a session until it is shown.
    """

    list_display = ("__str__", "client_id", "opens", "revoked_at", "created_at")
    search_fields = ("name", "client_id")
    fields = ("name", "client_id", "sites", "revoked_at", "created_at")
    filter_horizontal = ("sites",)
    actions = ("renew", "revoke", "allow_again")
    change_form_template = "admin/api/credential/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Credential]:
        return super().get_queryset(request).prefetch_related("sites")

    def get_readonly_fields(self, _request: HttpRequest, credential: Credential | None = None) -> Any:
        return ("client_id", "revoked_at", "created_at") if credential else ("revoked_at", "created_at")

    def get_changeform_initial_data(self, _request: HttpRequest) -> dict[str, Any]:
        return {"client_id": generate_secret()}

    def has_delete_permission(self, _request: HttpRequest, _credential: Credential | None = None) -> bool:
        return False  # revoking does the same, and leaves a trace

    def response_add(
        self, request: HttpRequest, credential: Credential, _post_url_continue: str | None = None
    ) -> HttpResponse:
        return self.tell_secrets(request, [credential])

    def response_change(self, request: HttpRequest, credential: Credential) -> HttpResponse:
        if "_renew" in request.POST:
            return self.tell_secrets(request, [credential])
        return super().response_change(request, credential)

    @admin.action(description="Renew the secret: the old one ends within 5 seconds")
    def renew(self, request: HttpRequest, credentials: QuerySet[Credential]) -> HttpResponse:
        return self.tell_secrets(request, list(credentials))

    @admin.action(description="Revoke: refused everywhere within 5 seconds")
    def revoke(self, request: HttpRequest, credentials: QuerySet[Credential]) -> None:
        for credential in credentials.filter(revoked_at=None):
            Credential.objects.filter(pk=credential.pk).update(revoked_at=timezone.now())
            self.log_change(request, credential, "Revoked.")
        self.message_user(request, "Revoked.", messages.SUCCESS)

    @admin.action(description="Allow again what was revoked")
    def allow_again(self, request: HttpRequest, credentials: QuerySet[Credential]) -> None:
        for credential in credentials.exclude(revoked_at=None):
            Credential.objects.filter(pk=credential.pk).update(revoked_at=None)
            self.log_change(request, credential, "Allowed again.")
        self.message_user(request, "Allowed again.", messages.SUCCESS)

    def tell_secrets(self, request: HttpRequest, credentials: list[Credential]) -> TemplateResponse:
        """New secrets, on a page that cannot be called up again."""
        renewed = [renew_secret(credential) for credential in credentials]
        for new in renewed:
            self.log_change(request, new.credential, "Made a new secret.")
        context = {
            **self.admin_site.each_context(request),
            "title": "Copy it now: a secret is shown once",
            "opts": self.opts,
            "media": self.media + forms.Media(js=("api/copy.js",), css={"all": ("api/admin.css",)}),
            "keys": [
                {
                    "credential": new.credential,
                    "client_id": show_copyable(new.credential.client_id),
                    "secret": show_copyable(new.secret),
                    "api_key": show_copyable(api_key(new.credential.client_id, new.secret)),
                    "sites": [(site.name, show_copyable(site.sitecode)) for site in new.credential.sites.all()],
                }
                for new in renewed
            ],
        }
        return TemplateResponse(request, "admin/api/credential/secrets.html", context)

    @admin.display(description="Opens")
    def opens(self, credential: Credential) -> str:
        return ", ".join(str(site) for site in credential.sites.all())


class KeysOfSource(admin.TabularInline):  # type: ignore[type-arg]  # takes no parameters at run time
    model = WriteKey
    fields = ("key", "created_at", "ends_at")
    readonly_fields = ("created_at",)
    extra = 0
    can_delete = False


@admin.register(Source)
class SourceAdmin(Pages[Source]):
    """Senders. Switched off rather than deleted: their messages name them."""

    list_display = ("name", "site_name", "kind", "is_enabled", "takes_track")
    list_filter = ("kind", "is_enabled", "site")
    list_select_related = ("site",)
    search_fields = ("name", "write_keys__key")
    fields = ("site", "name", "kind", "is_enabled", "takes_track", "created_at")

    def get_readonly_fields(self, _request: HttpRequest, source: Source | None = None) -> Any:
        return ("site", "kind", "created_at") if source else ("created_at",)

    def get_inlines(self, _request: HttpRequest, source: Source | None) -> Any:
        return (KeysOfSource,) if source else ()

    def save_model(self, request: HttpRequest, source: Source, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        super().save_model(request, source, form, change)
        if not change:
            equip_source(source)

    def has_delete_permission(self, _request: HttpRequest, _source: Source | None = None) -> bool:
        return False


class ReasonFilter(admin.SimpleListFilter):
    """The reasons of messages that failed: an index holds these alone."""

    title = "why it failed"
    parameter_name = "reason"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(reason, reason) for reason in FAILURES]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        return queryset.filter(reason=self.value(), status__in=FAILED) if self.value() else queryset


@admin.register(Message)
class MessageAdmin(ReadOnly[Message], LargeTable[Message]):
    """The inbox, newest first."""

    list_display = ("id", "received_at", "site_name", "type", "message_id", "status", "outcome")
    list_filter = ("status", ReasonFilter, "site")
    list_select_related = ("site",)
    sortable_by = ()
    search_fields = ("message_id",)
    search_help_text = "A whole messageId, or a message's number here."
    fieldsets = (
        (None, {"fields": ("site", "source", "type", "message_id", "position", "received_at", "occurred_at")}),
        ("What became of it", {"fields": ("status", "why", "did", "odd", "waiting_for", "attempts", "digested_at")}),
        ("As it was received", {"fields": ("body_shown", "detail_shown")}),
    )

    class Media:
        css = {"all": ("api/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        return super().get_queryset(request).defer("body", "detail")

    def find(self, rows: QuerySet[Message], term: str) -> QuerySet[Message]:
        """By the index of the deduplication, which lacks rejected messages; these by the one of failures."""
        number = Q(pk=int(term)) if term.isascii() and term.isdigit() and len(term) < 19 else Q(pk__in=())  # noqa: PLR2004
        known = Q(site__in=site_ids(), type__in=TYPES, message_id=term) & ~Q(status=Message.Status.REJECTED)
        rejected = Q(site__in=site_ids(), message_id=term, status=Message.Status.REJECTED)
        return rows.filter(number | known | rejected)

    @admin.display(description="Outcome")
    def outcome(self, message: Message) -> str:
        return ", ".join([*message.effects, *([message.reason] if message.reason else [])])

    @admin.display(description="Why")
    def why(self, message: Message) -> str:
        return message.sentence or "–"

    @admin.display(description="Effects")
    def did(self, message: Message) -> str:
        return ", ".join(message.effects) or "–"

    @admin.display(description="What was odd")
    def odd(self, message: Message) -> SafeString | str:
        sentences = [(warning, WARNINGS.get(warning, "")) for warning in message.warnings]
        return format_html_join(SafeString("<br>"), "<code>{}</code> {}", sentences) or "–"

    @admin.display(description="Body")
    def body_shown(self, message: Message) -> SafeString:
        return format_html("{}<p>{} bytes</p>", show_body(bytes(message.body)), len(message.body))

    @admin.display(description="Detail")
    def detail_shown(self, message: Message) -> SafeString:
        return show_text(message.detail) if message.detail else SafeString("–")


@admin.register(Claim)
class ClaimAdmin(ReadOnly[Claim]):
    """What the workers have in hand, or had when they died."""

    list_display = ("worker", "claimed_at", "how_many", "server_started_at")

    @admin.display(description="Messages")
    def how_many(self, claim: Claim) -> int:
        return len(claim.message_ids)

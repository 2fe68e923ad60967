"""Credentials, whose secrets are told once."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Field, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone

from admin_pages import Pages, show_copyable
from api.http.credentials import api_key, generate_secret
from api.ingest.provisioning import renew_secret
from api.models import Credential, Scope
from api.models.keys import least_scopes


@admin.register(Credential)
class CredentialAdmin(Pages[Credential]):
    """Client ids. A secret is told on the page that answers its making, and nowhere else: not in a message either,
    which would lie in a cookie or a session until it is shown.
    """

    list_display = ("__str__", "client_id", "opens", "scopes_in_words", "revoked_at", "created_at")
    search_fields = ("name", "client_id")
    fields = ("name", "client_id", "sites", "scopes", "revoked_at", "created_at")
    filter_horizontal = ("sites",)
    change_form_template = "admin/api/credential/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Credential]:
        return super().get_queryset(request).prefetch_related("sites")

    def get_readonly_fields(self, _request: HttpRequest, credential: Credential | None = None) -> Any:
        return ("client_id", "revoked_at", "created_at") if credential else ("revoked_at", "created_at")

    def get_changeform_initial_data(self, _request: HttpRequest) -> dict[str, Any]:
        return {"client_id": generate_secret()}

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **options: Any) -> Any:
        if db_field.name != "scopes":
            return super().formfield_for_dbfield(db_field, request, **options)
        return forms.MultipleChoiceField(
            label="May",
            choices=Scope.choices,
            initial=least_scopes,
            widget=forms.CheckboxSelectMultiple,
            help_text="What is pasted into Segment only sends.",
        )

    def has_delete_permission(self, _request: HttpRequest, _credential: Credential | None = None) -> bool:
        return False  # revoking does the same, and leaves a trace

    def response_add(
        self, request: HttpRequest, credential: Credential, _post_url_continue: str | None = None
    ) -> HttpResponse:
        return self.tell_secrets(request, [credential])

    def response_change(self, request: HttpRequest, credential: Credential) -> HttpResponse:
        if "_renew" in request.POST:
            return self.tell_secrets(request, [credential])
        if "_revoke" in request.POST or "_allow_again" in request.POST:
            return self.revoke(request, credential, at=timezone.now() if "_revoke" in request.POST else None)
        return super().response_change(request, credential)

    def revoke(self, request: HttpRequest, credential: Credential, *, at: datetime | None) -> HttpResponse:
        """Revoke a credential, or with None allow it again."""
        if (credential.revoked_at is None) != (at is None):
            Credential.objects.filter(pk=credential.pk).update(revoked_at=at)
            what = "Revoked" if at else "Allowed again"
            self.log_change(request, credential, f"{what}.")
            self.message_user(request, f"{what}: it holds everywhere within 5 seconds.", messages.SUCCESS)
        return HttpResponseRedirect(request.path)

    def tell_secrets(self, request: HttpRequest, credentials: list[Credential]) -> TemplateResponse:
        """New secrets, on a page that cannot be called up again."""
        renewed = [renew_secret(credential, now=timezone.now()) for credential in credentials]
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

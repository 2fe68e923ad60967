"""The form of a new site, which ends on its set-up guide. Administrators open it from the switcher."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache

import zones
from api.http.credentials import generate_sitecode
from api.ingest.provisioning import add_destination
from api.models import Profile, Site
from api.models.audit import write_audit
from api.pages.access import current_site, show, without_nul
from api.pages.fields import ZoneField
from goals.money import CURRENCIES


class NewSiteForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    """The settings that people should not have to change later, because figures follow them."""

    time_zone = ZoneField(help_text="Days and weeks of figures begin at its midnight.")
    default_currency = forms.ChoiceField(
        label="Currency",
        choices=[(code, code) for code in sorted(CURRENCIES)],
        help_text="Of revenue that names none.",
    )
    sitecode = forms.CharField(
        required=False,
        help_text="Ten lower-case letters and digits. Empty: Goalpost chooses one. It cannot be changed.",
    )

    class Meta:
        model = Site
        fields = ("name", "default_currency", "time_zone", "first_weekday", "sitecode")

    def clean_sitecode(self) -> str:
        return self.cleaned_data["sitecode"].strip() or generate_sitecode()


@never_cache
def create_site(request: HttpRequest) -> HttpResponseBase:
    """Show the form; on POST create the site with its Segment destination. 404 for anybody but administrators."""
    user: Any = request.user
    if not user.is_authenticated or not user.is_active:
        return redirect_to_login(request.get_full_path(), "/admin/login/")
    if not user.is_superuser:
        raise Http404
    current_site(request)  # the frame has its menu
    own_zone = Profile.objects.filter(user=user).values_list("time_zone", flat=True).first()
    initial = {"default_currency": "USD", "time_zone": own_zone or zones.DEFAULT}
    form = NewSiteForm(without_nul(request.POST) if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        with transaction.atomic():
            site = form.save()
            add_destination(site)
            after = {name: form.cleaned_data[name] for name in NewSiteForm.Meta.fields}
            write_audit(user, site, f"Created the site {site.sitecode}", None, after)
        messages.success(request, f"Site “{site.name}” created. Choose where its events come from.")
        return redirect("pages:guide", site.sitecode)
    return show(request, "pages/new_site.html", title="New site", form=form, status=400 if form.errors else 200)

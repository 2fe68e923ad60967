"""The page on which a person chooses what holds for all pages."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.cache import never_cache

from api.models import Profile
from api.pages.access import choose_zone, current_site, show
from api.pages.fields import ZoneField


class ProfileForm(forms.Form):
    """A person's choices."""

    time_zone = ZoneField(
        label="Time zone",
        empty="The site's time zone",
        help_text="Times on pages are in this zone. Days and weeks in figures follow the site. "
        "Exports and the API use UTC.",
    )


@never_cache
def edit_profile(request: HttpRequest) -> HttpResponseBase:
    """Show a person's choices; on POST keep them."""
    user: Any = request.user
    if not user.is_authenticated or not user.is_active:
        return redirect_to_login(request.get_full_path(), "/admin/login/")
    site = current_site(request)
    if site is not None:
        timezone.activate(choose_zone(site))
    profile = Profile.objects.filter(user=user).first() or Profile(user=user)
    form = ProfileForm(request.POST if request.method == "POST" else None, initial={"time_zone": profile.time_zone})
    if form.is_valid():
        Profile.objects.update_or_create(user=user, defaults={"time_zone": form.cleaned_data["time_zone"]})
        messages.success(request, "Profile saved.")
        return redirect("profile")
    return show(request, "pages/profile.html", title="Profile", form=form, status=400 if form.errors else 200)

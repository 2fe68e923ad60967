"""The custom data of a site: their list and their form."""

from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.models import Role, Site
from api.pages.access import get_in_site, show, site_page
from api.pages.confirm import ask, is_confirmed
from api.remote_data.configuration_changes import find_users_of
from api.remote_data.definitions import WrongDefinitionError, delete_definition, first_free_index, save_definition
from cohorts.custom_data import FIELDS, LARGEST_INDEX, Definition
from cohorts.models import CustomData

LABELS: Final = {"filled_from": "Filled from", "filling": "Path or id"}


class CustomDataForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    index = forms.IntegerField(min_value=1, max_value=LARGEST_INDEX)

    class Meta:
        model = CustomData
        fields = FIELDS
        labels = LABELS
        widgets = {"description": forms.Textarea(attrs={"rows": 2})}

    def definition(self) -> Definition:
        """Return the definition in a valid form."""
        return Definition(**{name: self.cleaned_data[name] for name in FIELDS})

    def validate_unique(self) -> None:
        """Leave this to the check of definitions, which names the other one."""


@site_page()
def list_custom_data(request: HttpRequest, site: Site) -> HttpResponseBase:
    rows = CustomData.objects.filter(site=site)
    return show(request, "pages/settings/custom_data.html", title="Custom data", tab="settings-custom-data", rows=rows)


@site_page(Role.EDITOR)
def edit_custom_data(request: HttpRequest, site: Site, custom_data_id: int | None = None) -> HttpResponseBase:
    row = get_in_site(CustomData, site, custom_data_id) if custom_data_id is not None else None
    edited = row or CustomData(site=site, index=first_free_index(site))
    form = CustomDataForm(request.POST or None, instance=edited)
    if request.method == "POST" and form.is_valid():
        there = None if row is None else get_in_site(CustomData, site, custom_data_id)  # the form has changed `row`
        try:
            save_definition(site, form.definition(), row=there, by=request.user, now=timezone.now())
        except WrongDefinitionError as error:
            for name, sentence in error.problems.items():
                form.add_error(name, sentence)
        else:
            messages.success(request, "Custom data saved. SDKs read it with their next configuration.")
            return redirect("pages:settings-custom-data", site.sitecode)
    return show(
        request,
        "pages/settings/custom_data_form.html",
        title="Custom data" if row else "New custom data",
        tab="settings-custom-data",
        form=form,
        row=row,
        status=400 if form.errors else 200,
    )


@site_page(Role.EDITOR)
@require_POST
def remove_custom_data(request: HttpRequest, site: Site, custom_data_id: int) -> HttpResponseBase:
    row = get_in_site(CustomData, site, custom_data_id)
    if not is_confirmed(request):
        users = find_users_of(site.pk, row.index)
        facts: list[Any] = [
            "SDKs no longer know its name, its scope and what identifies a person by it.",
            f"Flags that bucket visitors by it: {', '.join(users)}." if users else "",
        ]
        return ask(
            request,
            title=f"Delete the custom data “{row}”",
            facts=facts,
            warning="Values of visitors stay. They show again if you define the same index.",
            action="Delete custom data",
            back=reverse("pages:settings-custom-data", args=[site.sitecode]),
        )
    name = str(row)
    delete_definition(row, by=request.user, now=timezone.now())
    messages.success(request, f"Custom data “{name}” deleted.")
    return redirect("pages:settings-custom-data", site.sitecode)

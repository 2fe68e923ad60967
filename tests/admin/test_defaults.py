"""What a form proposes for a new row is what the model says, so that a row made by hand is like any other."""

from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client, RequestFactory
from django.urls import reverse

from api.ingest.provisioning import create_site
from api.models import Alert, Rule, Site
from api.pages.settings.alerts import AlertForm
from api.pages.settings.rules import PageForm
from api.pages.settings.site import SiteForm
from tests.admin.conftest import form_of

OWN: set[str] = {"id", "sitecode", "name", "created_at"}


def lost_defaults(form: forms.BaseForm, model: type[Model]) -> dict[str, tuple[Any, Any]]:
    """Return the fields for which a form proposes something other than the model's default."""
    columns = {column.name: column for column in model._meta.concrete_fields if column.has_default()}
    pairs = {
        name: (form.get_initial_for_field(field, name), columns[name].get_default())
        for name, field in form.fields.items()
        if name in columns
    }
    return {name: pair for name, pair in pairs.items() if (pair[0] or None) != (pair[1] or None)}


def test_add_forms__of_every_table__propose_the_models_defaults(db: None) -> None:
    request = RequestFactory().get("/")
    request.user = User.objects.create_superuser("admin")
    lost = {}
    for model, its in admin.site._registry.items():
        if its.has_add_permission(request):
            form: Any = its.get_form(request, None, change=False)(initial=its.get_changeform_initial_data(request))
            lost[model.__name__] = lost_defaults(form, model)
    assert {name: fields for name, fields in lost.items() if fields} == {}
    assert "Site" in lost


@pytest.mark.parametrize("kind", [SiteForm, AlertForm, PageForm], ids=lambda kind: kind.__name__)
def test_page_forms__of_a_new_row__propose_the_models_defaults(db: None, kind: Any) -> None:
    site = create_site(name="Shop")
    fresh: dict[Any, Model] = {SiteForm: Site(), AlertForm: Alert(site=site), PageForm: Rule(site=site)}
    assert lost_defaults(kind(instance=fresh[kind]), type(fresh[kind])) == {}


def test_site__made_by_the_form_as_it_stands__equals_one_made_by_a_command(person: Client) -> None:
    path = reverse("admin:api_site_add")
    answer = person.post(path, {**form_of(person, path), "name": "By hand", "sitecode": "madebyhand"})
    assert answer.status_code == 302

    by_hand, by_command = Site.objects.get(sitecode="madebyhand"), create_site(name="By command")

    def told(site: Site) -> dict[str, Any]:
        return {
            column.name: getattr(site, column.attname)
            for column in Site._meta.concrete_fields
            if column.name not in OWN
        }

    assert told(by_hand) == told(by_command)
    assert [source.kind for source in by_hand.sources.all()] == [source.kind for source in by_command.sources.all()]

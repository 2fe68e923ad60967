"""Forms of new rows propose the defaults of the models, so that a row made by hand is like any other."""

from typing import Any

import pytest

from api.ingest.provisioning import create_site
from api.models import Alert, Rule, Site
from api.pages.settings.alerts import AlertForm
from api.pages.settings.rule_form import RuleForm
from api.pages.settings.site import SiteForm


@pytest.mark.parametrize("form_class", [SiteForm, AlertForm, RuleForm], ids=lambda form_class: form_class.__name__)
def test_form__of_a_new_row__proposes_the_models_defaults(db: None, form_class: Any) -> None:
    site = create_site(name="Shop")
    new_rows: dict[Any, Any] = {SiteForm: Site(), AlertForm: Alert(site=site), RuleForm: Rule(site=site)}
    form = form_class(instance=new_rows[form_class])
    columns = {column.name: column for column in form_class.Meta.model._meta.concrete_fields if column.has_default()}
    proposed = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items() if name in columns}

    assert {name: value or None for name, value in proposed.items()} == {
        name: columns[name].get_default() or None for name in proposed
    }

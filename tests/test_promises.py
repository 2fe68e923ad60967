"""Every promise that a test names exists, and the migrations match the models."""

import pytest
from django.core.management import call_command

from tests.plugin import proofs, read_checklist


def test_promises__named_by_tests__are_in_the_checklist(request: pytest.FixtureRequest) -> None:
    assert not proofs(request.session.items).keys() - read_checklist().keys()


@pytest.mark.django_db
def test_migrations__of_all_models__are_written() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)

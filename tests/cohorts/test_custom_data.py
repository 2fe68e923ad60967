"""Definitions of custom data: which may be used, which stand beside each other, and what the table refuses."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from api.ingest.provisioning import create_site
from cohorts.custom_data import (
    LARGEST_INDEX,
    MOST_DEFINITIONS,
    Definition,
    definition_of,
    find_problems,
    parse_trait_path,
)
from cohorts.models import CustomData


def define(**fields: Any) -> Definition:
    return Definition(**{"index": 1, "name": "plan", **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"index": LARGEST_INDEX, "type": "COUNT_LIST", "format": "NUMBER", "scope": "PAGE"},
        {"is_local_only": True},
        {"is_mapping_identifier": True, "scope": "VISIT"},
        {"filled_from": "trait", "filling": r"address.post\.code"},
        {"filled_from": "group"},
        {"filled_from": "personas", "type": "LIST"},
        {"filled_from": "segment", "filling": "12", "format": "BOOLEAN"},
    ],
)
def test_problems__of_a_definition_that_can_be_used__are_none(fields: dict[str, Any]) -> None:
    assert find_problems(define(**fields)) == {}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"index": 0}, {"index"}),
        ({"index": LARGEST_INDEX + 1}, {"index"}),
        ({"name": " "}, {"name"}),
        ({"name": "a\0b"}, {"name"}),
        (
            {"type": "MAP", "format": "DATE", "scope": "SITE", "filled_from": "x"},
            {"type", "format", "scope", "filled_from"},
        ),
        ({"is_mapping_identifier": True, "is_local_only": True}, {"is_mapping_identifier"}),
        ({"is_mapping_identifier": True, "filled_from": "group"}, {"is_mapping_identifier"}),
        ({"filling": "plan"}, {"filling"}),
        ({"filled_from": "trait"}, {"filling"}),
        ({"filled_from": "trait", "filling": "a..b"}, {"filling"}),
        ({"filled_from": "trait", "filling": "plan", "is_local_only": True}, {"is_local_only"}),
        ({"filled_from": "trait", "filling": "plan", "scope": "VISIT"}, {"scope"}),
        ({"filled_from": "group", "filling": "plan"}, {"filling"}),
        ({"filled_from": "group", "type": "LIST", "format": "NUMBER"}, {"type", "format"}),
        ({"filled_from": "personas"}, {"type"}),
        ({"filled_from": "segment", "filling": "vip", "format": "BOOLEAN"}, {"filling"}),
        ({"filled_from": "segment", "filling": "12"}, {"format"}),
    ],
)
def test_problems__of_a_definition_that_cannot__name_its_fields(fields: dict[str, Any], wrong: set[str]) -> None:
    assert set(find_problems(define(**fields))) == wrong


def test_problems__beside_others__are_a_taken_index_name_or_identifier() -> None:
    other = define(is_mapping_identifier=True)

    assert find_problems(define(index=2, name="Plan"), [other]) == {}
    assert set(find_problems(define(is_mapping_identifier=True), [other])) == {"index", "name", "is_mapping_identifier"}
    full = [define(index=number, name=str(number)) for number in range(2, MOST_DEFINITIONS + 2)]
    assert set(find_problems(define(), full)) == {"index"}
    assert find_problems(define(), full[1:]) == {}


def test_trait_path__with_dots_in_names__has_them_apart() -> None:
    assert parse_trait_path(r"address.post\.code") == ("address", "post.code")


def test_table__two_definitions_of_a_site__differ_in_index_name_and_identifier(transactional_db: None) -> None:
    site, other = create_site(name="Shop", sitecode="1q2w3e4r5t"), create_site(name="Other")
    row = CustomData.objects.create(site=site, index=1, name="plan", is_mapping_identifier=True)
    CustomData.objects.create(site=other, index=1, name="plan", is_mapping_identifier=True)

    assert definition_of(row) == define(is_mapping_identifier=True)
    for fields in (
        {"index": 1, "name": "b"},
        {"index": 2, "name": "plan"},
        {"index": 2, "name": "b", "is_mapping_identifier": True},
        {"index": 0, "name": "b"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            CustomData.objects.create(site=site, **fields)
    site.delete()
    assert CustomData.objects.count() == 1

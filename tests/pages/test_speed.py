"""Query counts of every page; `python -m tests.bench.pages` measures the times of the same table."""

import pytest
from django.contrib.auth import get_user_model

from tests.bench.looks import Viewer, looks
from tests.bench.seed import seed
from tests.world import World


@pytest.fixture
def viewer(world: World) -> Viewer:
    """Return the administrator of a site that is full of everything."""
    get_user_model().objects.create_superuser("admin")
    seed(world.site, goals=60, conversions=2_000, messages=1_500)
    viewer = Viewer.of(world.site)
    viewer.client.get(f"/admin/s/{world.site.sitecode}/")  # the session learns the site: one query, once
    return viewer


def test_pages__of_a_full_site__make_few_queries_each(viewer: Viewer, world: World) -> None:
    wrong = []
    for look in looks(world.site):
        status, queries = viewer.get(look)
        if status not in look.allowed or len(queries) > look.most_queries:
            wrong.append((look.what, status, len(queries)))
    assert wrong == [], "\n".join(map(str, wrong))


def test_looks__name_every_page_that_can_be_looked_at(viewer: Viewer, world: World) -> None:
    assert viewer.unnamed(world.site, looks(world.site)) == []

"""Variables, limits and starting order of docker/compose.yml."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from api.http.database import POOL_SIZE
from api.http.django_requests import EXPORT_LIMIT, PAGES, SIGN_INS
from api.management.commands import up
from tests.docker.compose import COMPOSE, DIRECTORY, REQUIRED, MissingError, example, load
from tests.support.caddy import CADDY

ROOT = DIRECTORY.parent
OURS = ("web", "worker", "beat")
# Variables that the image or compose.yml sets, or that have no use in a container.
NOT_TO_SET = {"GOALPOST_DATA_DIR", "GOALPOST_STATIC_ROOT", "GOALPOST_HOST"}


def test_compose__against_the_published_schema__is_valid() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout


def test_compose__its_variables__are_all_explained_in_env_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    lines = (DIRECTORY / "env.example").read_text().splitlines()
    unexplained = [line for above, line in pairwise(lines) if line[:1].isupper() and not above.startswith("#")]

    assert used | {"COMPOSE_PROFILES"} == set(example())
    assert unexplained == ["GOALPOST_CLIENT_SECRET=", "GOALPOST_ADMIN_PASSWORD="]  # the line above speaks for both


@pytest.mark.parametrize("name", ["GOALPOST_SECRET_KEY", "POSTGRES_PASSWORD"])
def test_compose__without_a_secret__refuses_to_start(name: str) -> None:
    with pytest.raises(MissingError, match=name):
        load({**REQUIRED, name: ""})


def test_compose__settings_of_the_code__can_all_be_set_and_have_its_defaults() -> None:
    settings: dict[str, str] = {}
    for path in (ROOT / "api").rglob("*.py"):
        settings |= dict(re.findall(r"env\.\w+\(\s*\"(GOALPOST_\w+)\", ([^,)]*)", path.read_text()))

    given = {name: default for name, default in settings.items() if name not in NOT_TO_SET}
    assert given.keys() <= example().keys()
    for name, default in given.items():
        assert not default[:1].isdigit() or example()[name] == default.replace("_", ""), name


def test_compose__defaults__are_those_of_env_example() -> None:
    """An unchanged line of env.example has no effect."""
    empty, copied = load(REQUIRED), load({**example(), **REQUIRED})

    assert empty == copied


def test_compose__migration__must_succeed_before_anything_of_ours_starts() -> None:
    services = load(REQUIRED)["services"]

    assert services["migrate"]["restart"] == "no"
    assert services["migrate"]["depends_on"] == {"postgresql": {"condition": "service_healthy"}}
    for name in OURS:
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert services[name]["command"] == [name]
        assert services[name]["restart"] == "unless-stopped"
    for name in ("postgresql", "valkey"):
        assert services[name]["healthcheck"]["test"]


def test_compose__databases__are_reached_by_nobody_else() -> None:
    compose = load(REQUIRED)

    assert compose["networks"]["inside"] == {"internal": True}
    for name in ("postgresql", "valkey", "migrate", "beat"):
        assert compose["services"][name]["networks"] == ["inside"]
        assert "ports" not in compose["services"][name]
    assert compose["services"]["worker"]["networks"] == ["inside", "outside"]  # it sends alerts
    assert "ports" not in compose["services"]["worker"]
    assert compose["services"]["web"]["ports"] == ["127.0.0.1:8000:8000"]


def test_compose__data__is_kept_in_named_volumes() -> None:
    compose = load(REQUIRED)
    mounted = [volume for service in compose["services"].values() for volume in service.get("volumes", [])]

    assert {volume.partition(":")[0] for volume in mounted} == {*compose["volumes"], "./Caddyfile", "./hooks"}
    assert "postgresql:/var/lib/postgresql" in compose["services"]["postgresql"]["volumes"]


def test_compose__connections__fit_what_postgresql_takes() -> None:
    services = load(REQUIRED)["services"]
    web, worker = services["web"]["environment"], services["worker"]["environment"]
    each_web = POOL_SIZE + 2 + sum(limit.running for limit in (PAGES.limit, SIGN_INS.limit, EXPORT_LIMIT))
    most = int(web["GOALPOST_WEB_PROCESSES"]) * each_web + int(worker["GOALPOST_WORKER_PROCESSES"]) * 3 + 10
    allowed = next(word for word in services["postgresql"]["command"] if word.startswith("max_connections="))

    assert 2 * most <= int(allowed.partition("=")[2])


def test_compose__memory__is_limited_for_each_and_fits_what_it_holds() -> None:
    services = load(REQUIRED)["services"]
    limits = {name: megabytes(service["mem_limit"]) for name, service in services.items()}
    per_child = up.WORKER_MEMORY / 1024
    processes = int(services["worker"]["environment"]["GOALPOST_WORKER_PROCESSES"])
    valkey = dict(pairwise(services["valkey"]["command"]))

    assert f"--max-memory-per-child {up.WORKER_MEMORY} " in (DIRECTORY / "entrypoint").read_text()
    assert limits["worker"] >= 90 + processes * per_child
    assert limits["valkey"] > megabytes(valkey["--maxmemory"].removesuffix("b")) * 1.25
    assert f"{sum(limits.values()) / 1024 - limits['migrate'] / 1024:.1f} GB in all" in COMPOSE.read_text()


def megabytes(text: str) -> int:
    return int(text[:-1]) * {"m": 1, "g": 1024}[text[-1]]


def test_caddyfile__with_the_programs_own_check__is_valid(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GOALPOST_DOMAIN": "goalpost.test"}
    command = [CADDY, "validate", "--adapter", "caddyfile", "--config", str(DIRECTORY / "Caddyfile")]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr

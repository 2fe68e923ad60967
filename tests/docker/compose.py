"""Reader of docker/compose.yml that replaces variables like Docker Compose."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DIRECTORY = Path(__file__).resolve().parents[2] / "docker"
COMPOSE = DIRECTORY / "compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^${}]*))?\}")
# Values that an operator must set before the first start.
REQUIRED = {"GOALPOST_SECRET_KEY": "x" * 50, "POSTGRES_PASSWORD": "secret", "GOALPOST_DOMAIN": "goalpost.test"}


class MissingError(Exception):
    """A variable that must be set is not."""


def load(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the file with its variables replaced. Raise MissingError if a required one is unset."""
    loaded: dict[str, Any] = interpolate(yaml.safe_load(COMPOSE.read_text()), variables)
    return loaded


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """Replace `${A}`, `${A:-default}` and `${A:?reason}` in every string, and `$$` by `$`."""
    if isinstance(value, dict):
        return {key: interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def value_of(match: re.Match[str]) -> str:
        name, operator, operand = match.groups()
        if given := variables.get(name, ""):
            return given
        if operator == ":?":
            raise MissingError(name)
        return operand or ""

    while VARIABLE.search(value):  # the innermost first
        value = VARIABLE.sub(value_of, value)
    return value.replace("$$", "$")


def example() -> dict[str, str]:
    """Return the variables of env.example as `docker compose` reads them."""
    lines = (DIRECTORY / "env.example").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}

"""docker/compose.yml as Docker Compose would understand it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DIRECTORY = Path(__file__).resolve().parents[2] / "docker"
COMPOSE = DIRECTORY / "compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^${}]*))?\}")
# What a person must fill in before the first start.
REQUIRED = {"GOALPOST_SECRET_KEY": "x" * 50, "POSTGRES_PASSWORD": "secret", "GOALPOST_DOMAIN": "goalpost.test"}


class MissingError(Exception):
    """A variable that must be set is not."""


def load(variables: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables replaced. Raises MissingError."""
    loaded: dict[str, Any] = interpolate(yaml.safe_load(COMPOSE.read_text()), variables)
    return loaded


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """Every string with its variables replaced: `${A}`, `${A:-default}` and `${A:?reason}`; `$$` is one `$`."""
    if isinstance(value, dict):
        return {key: interpolate(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolate(each, variables) for each in value]
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
    """env.example, as `docker compose` reads it."""
    lines = (DIRECTORY / "env.example").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}

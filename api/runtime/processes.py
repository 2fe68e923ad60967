"""Processes that `manage.py up` and the tests start: one owner for a data directory, no orphan, a bounded stop."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

# Linux's capabilities to pass closed directories, by their bits. Containers lack the first, which gives away less.
PASSING = {2: "dac_read_search", 1: "dac_override"}
SETPCAP = 8  # the one to give a capability to another account
# The parent may have ended before the kernel knew that its end matters.
IF_PARENT_LIVES = 'test "$PPID" = "$1" && shift && exec "$@"'
EXEC_CHILD = Path(__file__).with_name("exec_child.py")
# A start waits so long for processes of an earlier one, whose own stop takes less.
LEFTOVERS_SECONDS = 12.0
# A program that ends this often in this many seconds will end again. The pauses alone take 1 + 2 + 4 + 8 seconds.
MAX_ENDS = 5
ENDS_WITHIN = 300.0
FIRST_PAUSE = 1.0
# The kernel's score of web, worker and beat when memory is short: it ends them, which start again, and not PostgreSQL.
EXPENDABLE = 500


class StartRefusedError(Exception):
    """Failure of a start, in one line that says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """Ids under which a program runs."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals


@contextmanager
def claim(data_dir: Path) -> Iterator[int]:
    """Own a data directory and yield the descriptor of its lock, which every child must inherit.

    An flock lives as long as any process holds the descriptor. So its owner knows that nothing of an earlier start is
    left. No second PostgreSQL can run on the data directory, and a postmaster.pid in it is stale. Raises
    StartRefusedError if another start owns it.
    """
    path = data_dir / "up.lock"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartRefusedError(
            f"cannot write to the data directory {data_dir} ({error.strerror}): "
            "give this user the right to, or name another in GOALPOST_DATA_DIR"
        ) from error
    try:
        wait_for(lock, path)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def wait_for(lock: int, path: Path) -> None:
    deadline = time.monotonic() + LEFTOVERS_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = int(os.pread(lock, 20, 0) or b"0")
            if owner and is_alive(owner):
                raise StartRefusedError(
                    f"Goalpost already runs on {path.parent} as process {owner}: "
                    "stop it first, or name another directory in GOALPOST_DATA_DIR"
                ) from None
            if time.monotonic() > deadline:
                raise StartRefusedError(
                    f"processes of an earlier start still run on {path.parent}: stop them (`fuser {path}` finds them)"
                ) from None
            time.sleep(0.1)
        else:
            return


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def start(
    name: str,
    command: Sequence[str],
    *,
    lock: int,
    env: Mapping[str, str] | None = None,
    output: IO[bytes] | int | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    stdin: int = subprocess.DEVNULL,
    is_expendable: bool = False,
) -> Child:
    """Start a program that dies with this process and holds the data directory's lock.

    It leads a process group of its own: Ctrl-C in a terminal reaches only us, and we choose the order of the stop.
    Must be called from the main thread: the kernel ties a child to the thread that made it. Only Linux can do so. An
    expendable one is the first to be killed when the machine has no memory left.
    """
    tie = setpriv if has_setpriv() else exec_child
    process = subprocess.Popen(
        [
            *tie(account or Account(os.geteuid(), os.getegid()), stop_signal),
            *("/bin/sh", "-c", IF_PARENT_LIVES, "sh", str(os.getpid())),
            *command,
        ],
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        pass_fds=(lock,),
        process_group=0,
    )
    if is_expendable:
        with suppress(OSError):  # on other systems than Linux, or it has ended already
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(str(EXPENDABLE))
    return Child(name, process, stop_signal)


@cache
def has_setpriv() -> bool:
    """Return whether util-linux's setpriv is installed; the one of BusyBox does not know this option."""
    probe = ["setpriv", "--pdeathsig", "keep", "true"]
    try:
        return subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def setpriv(account: Account, stop_signal: signal.Signals) -> list[str]:
    """Return the prefix of a command that Linux signals as soon as its parent has ended.

    PostgreSQL refuses to run as root, and another account cannot pass a home of mode 0700 to reach data and program.
    The account gets the right to pass it, because opening that home to all accounts would be wrong.
    """
    options = ["--pdeathsig", stop_signal.name]
    if account.uid != os.geteuid():
        options += ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"]
        permitted = int(Path("/proc/self/status").read_text().partition("CapPrm:")[2].split()[0], 16)
        right = next((name for bit, name in PASSING.items() if permitted & 1 << bit), None)
        if right and permitted & 1 << SETPCAP:
            # Without it, access(2), by which initdb looks for its programs, ignores the right.
            options += ["--securebits", "+no_setuid_fixup"]
            options += ["--inh-caps", f"-all,+{right}", "--ambient-caps", f"-all,+{right}"]
    return ["setpriv", *options]


def exec_child(account: Account, stop_signal: signal.Signals) -> list[str]:
    """Return the prefix of a command where setpriv is missing, as on macOS, which has no such signal either."""
    return [sys.executable, "-I", "-S", str(EXEC_CHILD), str(account.uid), str(account.gid), str(stop_signal.value)]


class SupervisedProgram:
    """Program that is started again when it ends by itself, after a growing pause."""

    def __init__(
        self, name: str, start: Callable[[], Child], *, last_lines: Callable[[], str], child: Child | None = None
    ) -> None:
        self.name = name
        self.child = child or start()
        self._start = start
        self._last_lines = last_lines
        self._ended_at: deque[float] = deque(maxlen=MAX_ENDS)
        self._due_at: float | None = None

    def restart_if_ended(self) -> str:
        """Start the program again if it has ended and its pause is over. Return a line to print or "".

        Call it often, from the main thread. Raises StartRefusedError if it has ended too often.
        """
        if self._due_at is not None:
            if time.monotonic() < self._due_at:
                return ""
            self._due_at = None
            try:
                self.child = self._start()
            except StartRefusedError as error:
                return self._plan_restart(str(error))
            return f"{self.name} is started again"
        code = self.child.process.poll()
        if code is None:
            return ""
        stop([self.child], within=0)  # the rest of its group may hold its port
        return self._plan_restart(f"{self.name} ended by itself ({describe_exit(code)})")

    def _plan_restart(self, event: str) -> str:
        """Plan the next start and return a line to print. Raises StartRefusedError if it has ended too often."""
        now = time.monotonic()
        self._ended_at.append(now)
        if len(self._ended_at) == MAX_ENDS and now - self._ended_at[0] < ENDS_WITHIN:
            raise StartRefusedError(
                f"{event}, {MAX_ENDS} times in {now - self._ended_at[0]:.0f} s: stopped everything else. "
                f"Its last lines: {self._last_lines()}"
            )
        recent = sum(now - ended_at < ENDS_WITHIN for ended_at in self._ended_at)
        pause = FIRST_PAUSE * 2 ** (recent - 1)
        self._due_at = now + pause
        return f"{event}; it is started again in {pause:.0f} s"


def describe_exit(code: int) -> str:
    """Return why a process ended, as its exit code says."""
    if code == -signal.SIGKILL:
        return "killed, by hand or because the machine had no memory left"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def stop(children: Sequence[Child], *, within: float) -> None:
    """Ask every child to stop, and kill what is left of its process group after `within` seconds."""
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(child.stop_signal)
    deadline = time.monotonic() + within
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, deadline - time.monotonic()))
    for child in children:
        with suppress(ProcessLookupError):  # the usual case: the whole group is gone
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()

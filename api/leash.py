"""Run as a script: tie a program's life to its parent's, leave root behind if told to, then become that program.

    python -I -S leash.py PARENT SIGNAL UID GID PROGRAM [ARGUMENT ...]

A script and not a `preexec_fn`: those are unsafe once threads run, and tests start servers beside threads.
On Linux the kernel sends SIGNAL as soon as PARENT is gone, kill -9 included; elsewhere nothing of that kind exists.
Imports the standard library only, because it runs before any environment is known to be whole.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522


class CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class CapabilitySets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def become(uid: int, gid: int) -> None:
    """Go on as another account that can still reach what root reaches.

    PostgreSQL refuses to run as root, and another account cannot pass a home of mode 0700 on its way to the data or to
    the program itself. Opening that home to everybody would be the wrong answer; the one right to pass
    closed directories (and read) goes along instead. Containers lack the narrow right and have the wider one.
    """
    if sys.platform != "linux":
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        return
    libc = ctypes.CDLL(None)
    header = CapabilityHeader(CAPABILITY_VERSION_3, 0)
    sets = (CapabilitySets * 2)()  # the second one is for capabilities above 31: none of ours
    libc.capget(ctypes.byref(header), ctypes.byref(sets))
    ours = sets[0].permitted
    # Changing the account must not take the right away, nor may access(2), by which initdb looks for its programs.
    libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    kept = next((each for each in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if ours & 1 << each), None)
    bits = 0 if kept is None else 1 << kept
    libc.capset(ctypes.byref(header), ctypes.byref((CapabilitySets * 2)(CapabilitySets(bits, bits, bits))))
    if kept is not None:
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept, 0, 0)


def die_with(parent: int, signal_number: int) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before the line above
        sys.exit(1)


def main(parent: str, signal_number: str, uid: str, gid: str, *command: str) -> None:
    if int(uid) != os.geteuid():
        become(int(uid), int(gid))
    die_with(int(parent), int(signal_number))  # after the change of account, which would clear it
    os.execvp(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(*sys.argv[1:])

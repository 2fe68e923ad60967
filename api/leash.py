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
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
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
    libc = ctypes.CDLL(None, use_errno=True)
    header = CapabilityHeader(CAPABILITY_VERSION_3, 0)
    sets = (CapabilitySets * 2)()  # the second one is for capabilities above 31: none of ours
    libc.capget(ctypes.byref(header), ctypes.byref(sets))
    ours = sets[0].permitted
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        bit = 1 << capability
        if ours & bit:
            kept = (CapabilitySets * 2)(CapabilitySets(bit, bit, bit))
            libc.capset(ctypes.byref(header), ctypes.byref(kept))
            libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            return


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

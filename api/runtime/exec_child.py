"""Script that changes the account, asks Linux for a signal at the parent's end, and becomes another program.

python -I -S exec_child.py UID GID SIGNAL PROGRAM [ARGUMENT ...]

It replaces util-linux's setpriv where that is missing. The account cannot pass closed directories then.
"""

import ctypes
import os
import sys

if __name__ == "__main__":
    uid, gid, signal_number, *command = sys.argv[1:]
    if int(uid) != os.geteuid():
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal_number))  # PR_SET_PDEATHSIG, which a change of account would clear
    os.execvp(command[0], command)  # noqa: S606 - no shell is the point

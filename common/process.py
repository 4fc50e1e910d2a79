"""What a server process arranges for itself: to die with its parent, and to be interrupted little by its collector."""

import ctypes
import gc
import os
import signal

from sherd.common.errors import SherdError

_PR_SET_PDEATHSIG = 1


class ParentGone(SherdError):
    """The parent that started this process is no more."""


def die_with_parent(expected_parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies. ParentGone if it has died already.

    Linux sends the signal when the *thread* that started this process ends, so a parent starts its children from a
    thread that lives as long as it does. Children of this process are not covered: each asks for itself.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    # The parent may have died between starting this process and the call above; nobody would send the signal then.
    if os.getppid() != expected_parent_pid:
        raise ParentGone(f"the parent process {expected_parent_pid} is gone")


def settle_collector() -> None:
    """Tell the garbage collector that start is over: what is there now stays, and is not looked at again.

    Requests leave no cycles, so collections find nothing; yet each of them stops the process for as long as it takes to
    look at every container. They come less often from now on.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)

"""Runs one command for as long as standard input stays open: an engine that can't outlive its service.

Started as a script, ``supervisor.py GRACE_SECONDS COMMAND…``, with nothing but the standard library: it
prints the command's process id on one line, then waits. However its parent ends, kill -9 included, the kernel
closes the pipe; the command then gets SIGTERM, ``GRACE_SECONDS`` to end in order, and SIGKILL. When the
command ends by itself so does the supervisor, with the same exit code.

It is a process of its own because the two ways without one are worse: a parent-death signal set by the
service fires when the *thread* that forked ends, and needs code between fork and exec in a process full of
threads. Here there is one thread when the fork happens, so the signal is safe, and covers the death of the
supervisor.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1


def main(grace_seconds: float, command: list[str]) -> int:
    """Run the command until it ends or standard input does; its exit code."""
    supervisor = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def die_with_supervisor() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != supervisor:  # it died before the line above
                os.kill(os.getpid(), signal.SIGKILL)

    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, close_fds=False, preexec_fn=die_with_supervisor
    )

    def stop_at_end_of_input() -> None:
        while os.read(0, 1024):
            pass
        child.terminate()
        try:
            child.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            child.kill()

    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    os.write(1, f"{child.pid}\n".encode())
    os.dup2(2, 1)  # ends the line's reader's wait; nothing more is said there
    return child.wait()


if __name__ == "__main__":
    sys.exit(abs(main(float(sys.argv[1]), sys.argv[2:])))

"""What `dub` starts: settles how OpenMP threads wait before anything that brings OpenMP is imported, then hands over.

Threads that spin while they wait (the default of most OpenMP builds) cost a small machine most of its speed as soon as
two pools share it, and torch, FAISS and scikit-learn each bring one. The policy is read when the first library loads,
so it has to be in the environment of the process from its start.
"""

from __future__ import annotations

import os
import sys

POLICY = "OMP_WAIT_POLICY"
GUARD = "DUB_RELAUNCHED"
"""Set once Python was started again, so that an environment which drops the policy cannot make it start for ever."""


def main() -> None:
    """The console script: the exit codes are those of `authentic_dubber.exits`."""
    settle_threads()
    from .cli import app

    app(prog_name="dub")


def settle_threads() -> None:
    """Start Python again with passive waiting, unless the user chose a policy or this is already the second start."""
    if POLICY in os.environ or GUARD in os.environ:
        return
    os.environ[POLICY] = "PASSIVE"
    os.environ[GUARD] = "1"
    if os.name == "nt":  # there exec returns to the shell at once; libraries loaded later still see the variable
        return
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()

"""Keep freed memory in the process: what one training step frees the next one needs again.

glibc gives large blocks back to the system and asks for them anew, page by page; on Linux that
costs training on a CPU a tenth to a sixth of its speed (`benchmarks/memory.py`). The forward
passes of the chapters gain nothing by it, so only `lookups.trainer` asks for it. Nothing computed
depends on it.
"""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt, by the numbers of its malloc.h."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed, for the rest of this process; False where it is not glibc.

    The process then holds its peak until it ends.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return False
    wanted = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28}
    taken = [mallopt(parameter, value) for parameter, value in wanted.items()]
    return all(taken)

"""Large temporaries on the CPU without page faults."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_large_blocks(size=2**30):
    """Tell glibc to keep freed blocks of up to `size` bytes instead of returning them to the system, which costs a page
    fault for every 4 kB of every large temporary. True where it was done (Linux with glibc), False elsewhere."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, size) and mallopt(M_TRIM_THRESHOLD, size))

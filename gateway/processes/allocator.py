"""The C library's allocator, told to keep what is freed.

glibc gives freed memory at the heap's end back to the system at once, and takes it again for the next batch of log
records: two page faults a request, a tenth of a worker's time, until its own thresholds have grown by chance.
"""

import ctypes

# Parameters of mallopt(3), glibc's.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
# What a busy worker frees and takes again within one turn of its event loop is less; a large body still goes back.
KEPT_BYTES, MAPPED_BYTES = 16 << 20, 4 << 20


def keep_freed() -> None:
    """Keep up to 16 MiB of freed memory in this process; with another C library than glibc nothing is done."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(MMAP_THRESHOLD, MAPPED_BYTES)

"""The catalogue that the shop holds in memory, and a shortage of memory for the experiment that
needs one.

SHOP_CATALOGUE_MB   size of the catalogue (default 0: none)
SHOP_SHORT_MEMORY   a folder; each file in it makes one load run short: the load takes the file away and goes on with
                    an RLIMIT_AS that leaves SPARE_MB. The failure itself is the operating system's, no code raises it.
"""

import os
import resource
from pathlib import Path

SPARE_MB = 48
MB = 1 << 20


def load():
    """Return the catalogue: a table that is as large as the real one would be."""
    _run_short_of_memory()
    return bytearray(int(os.environ.get("SHOP_CATALOGUE_MB", "0")) * MB)


def _run_short_of_memory():
    folder = os.environ.get("SHOP_SHORT_MEMORY")
    if not folder or not any(_take(token) for token in Path(folder).iterdir()):
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_MB * MB
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _take(token):
    try:
        token.unlink()
    except FileNotFoundError:  # another worker was quicker
        return False
    return True

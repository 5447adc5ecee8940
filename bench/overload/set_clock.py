"""A host's clock that is set while the library runs: by as many seconds as stand in a file."""

from __future__ import annotations

import os
import time

_now = time.time
_file = os.open(os.environ["BENCH_CLOCK"], os.O_RDONLY)


def _set() -> float:
    return _now() + float(os.pread(_file, 10, 0) or 0)


time.time = _set

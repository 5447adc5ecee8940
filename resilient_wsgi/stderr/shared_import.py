"""The target of uWSGI's `shared-import` for standard error alone: `resilient-wsgi exec` sets it.

Settings come from the environment, as everywhere in the master.
"""

from __future__ import annotations

import contextlib

from ..errors import Unavailable
from ..settings.options import OFF
from ..settings.sources import find
from .component import install

_options = find().settings.stderr
if _options.mode != OFF:
    with contextlib.suppress(Unavailable):
        install(_options)

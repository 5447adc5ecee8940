"""For all tests."""

from __future__ import annotations

import hypothesis

# no example database: it would be written into the checkout, which need not be ours
hypothesis.settings.register_profile("default", database=None)
hypothesis.settings.load_profile("default")

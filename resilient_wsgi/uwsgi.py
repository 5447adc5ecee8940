"""Import target of `shared-import`: puts everything in place in the uWSGI master, before the first fork."""

from __future__ import annotations

from .installation import install_in_master

installation = install_in_master()

"""Sets up the example shop: a fresh database in a temporary folder, its environment, its uWSGI
options.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator

if TYPE_CHECKING:
    from lab.processes.uwsgi import Option

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "examples" / "shop"
# all that an operator adds to uwsgi.ini
PROTECTING_LINES: Dict[str, Option] = {
    "shared-import": "resilient_wsgi.uwsgi",
    "hook-accepting": "rpc:resilient_wsgi_ready",
}


@contextlib.contextmanager
def environment(**more: str) -> Iterator[Dict[str, str | None]]:
    """Give the environment of a shop with a fresh, migrated database, which is gone after the
    block.

    Switches of the library that this process has inherited are not passed on: without the library must be without it.
    """
    with tempfile.TemporaryDirectory(prefix="lab-shop-") as folder:
        database = Path(folder) / "shop.sqlite3"
        database.write_bytes(_migrated_database())
        yield {**_inherited_switches(), "SHOP_DATABASE": str(database), **more}


@functools.cache
def _migrated_database() -> bytes:
    """Return a database as `migrate` leaves it; made once, it takes a second."""
    with tempfile.TemporaryDirectory(prefix="lab-shop-") as folder:
        database = Path(folder) / "shop.sqlite3"
        inherited = {
            key: value for key, value in os.environ.items() if key not in _inherited_switches()
        }
        subprocess.run(
            [sys.executable, str(PROJECT / "manage.py"), "migrate", "--verbosity=0"],
            env={
                **inherited,
                "SHOP_DATABASE": str(database),
                "DJANGO_SETTINGS_MODULE": "shop.settings",
            },
            check=True,
            timeout=60,
        )
        return database.read_bytes()


def _inherited_switches() -> Dict[str, str | None]:
    return {name: None for name in os.environ if name.startswith(("SHOP_", "RESILIENT_WSGI"))}


def options(*, protected: bool, **more: Option) -> Dict[str, Option]:
    """Return the uWSGI options of the shop; `protected` adds the two lines and nothing else.

    An underscore in a name stands for a hyphen.
    """
    chosen: Dict[str, Option] = {"master": True, "pythonpath": str(PROJECT), "module": "shop.wsgi"}
    chosen.update({name.replace("_", "-"): value for name, value in more.items()})
    if protected:
        chosen.update(PROTECTING_LINES)
    return chosen

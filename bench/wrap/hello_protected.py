"""The same app with all of the library around it."""

from __future__ import annotations

import resilient_wsgi
from bench.wrap.hello_app import application as hello

resilient_wsgi.install()
application = resilient_wsgi.wrap(hello)

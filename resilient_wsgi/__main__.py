"""`python -m resilient_wsgi` is `resilient-wsgi`."""

import sys

from .cli import main

sys.exit(main())

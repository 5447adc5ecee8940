"""The app of readiness_app, loaded by `resilient_wsgi.load`: what a wsgi.py for gunicorn would
hold.
"""

import resilient_wsgi

application = resilient_wsgi.load("readiness_app:application")

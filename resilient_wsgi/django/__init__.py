"""The Django app: `INSTALLED_APPS = ["resilient_wsgi.django", ...]` and, if anything is to be
different, `RESILIENT_WSGI`.
"""

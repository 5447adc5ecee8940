"""Limits that speak each driver's language: databases, caches, brokers, mail.

In a request a wait ends at the request's deadline, with the driver's own exception; connecting is
limited everywhere. A `deadline.limit()` of the app counts as well.
"""

"""The doctor: reads the configuration of a WSGI service and reports what will hurt, before it does.

A tool: nothing imports it at install time, and it never runs, imports or contacts what it looks at.
"""

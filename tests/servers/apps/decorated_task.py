"""A task for uWSGI's spooler, which registers no signals and so cannot import the whole app."""

import os

import uwsgi
from uwsgidecorators import spool


def say(what):
    role = "spooler" if uwsgi.i_am_the_spooler() else f"worker {uwsgi.worker_id()}"
    os.write(2, f"\nTHEIRS {what} in {role}.\n".encode())


@spool
def spooled(arguments):
    say(f"spool {arguments['name']}")

from .errors import Unavailable


def install(options=None):
    raise Unavailable("not there yet")


def uninstall():
    pass

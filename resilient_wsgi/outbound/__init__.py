from ..errors import Unavailable


def install(options=None):
    return ("nothing yet",)


def uninstall():
    pass

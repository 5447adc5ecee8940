from ..errors import Unavailable


def install(options=None):
    raise Unavailable("not there yet")


def uninstall():
    pass


def load(spec):
    """Placeholder."""
    raise NotImplementedError

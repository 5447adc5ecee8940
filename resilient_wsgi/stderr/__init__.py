from ..errors import Unavailable


def install(options=None):
    return ("nothing yet",)


def uninstall():
    pass


class ErrorsMiddleware:
    def __init__(self, app, options):
        self.app = app

    def __call__(self, environ, start_response):
        return self.app(environ, start_response)

"""One module for each client; each has the same names: `MODULE`, after whose import `patch(module,
patches)` is called.
"""

from . import http_client, httpcore, httpx, requests, urllib3, urllib_request

ALL = (http_client, urllib_request, urllib3, requests, httpcore, httpx)

__all__ = ["ALL"]

"""A module for each client: its `patch(module, patches)` is called when the client is imported."""

CLIENTS = {
    "http.client": "http_client",
    "urllib.request": "urllib_request",
    "urllib3": "urllib3",
    "requests": "requests",
    "httpcore": "httpcore",
    "httpx": "httpx",
}
"""The name of each client, and of the module here, which is imported with it."""

__all__ = ["CLIENTS"]

"""A module for each client: its `patch(module, patches)` is called when the client is imported."""

CLIENTS = {
    "http.client": ("http_client",),
    "urllib.request": ("urllib_request",),
    "urllib3": ("urllib3",),
    "requests": ("requests",),
    "niquests": ("requests",),
    "httpcore": ("httpcore", "httpcore_async", "httpcore_pool", "http2"),
    "httpx": ("httpx", "httpx_async"),
    "httpcore2": ("httpcore", "httpcore_async", "http2"),
    "httpx2": ("httpx", "httpx_async"),
    "aiohttp": ("aiohttp",),
    "websocket": ("websocket",),
}
"""The name of each client, and of the modules here, which are imported with it."""

__all__ = ["CLIENTS"]

"""Views that ask an upstream, with no timeout, through the client that is named in the path."""

from __future__ import annotations

import http.client
import time
import urllib.request

import httpx
import requests
import urllib3

import resilient_wsgi

resilient_wsgi.install(
    {"OUTBOUND": {"READ_TIMEOUT": 60, "TOTAL_TIMEOUT": 60, "CONNECT_TIMEOUT": 60}}
)
session, manager, client = requests.Session(), urllib3.PoolManager(), httpx.Client(timeout=None)


def by_http_client(url):
    conn = http.client.HTTPConnection(url.split("/")[2])
    conn.request("GET", "/" + url.split("/", 3)[3])
    return conn.getresponse().read()


ASK = {
    "http.client": (by_http_client, TimeoutError),
    "urllib.request": (lambda url: urllib.request.urlopen(url).read(), TimeoutError),
    "urllib3": (lambda url: manager.request("GET", url).data, urllib3.exceptions.TimeoutError),
    "requests": (lambda url: session.get(url).content, requests.Timeout),
    "httpx": (lambda url: client.get(url).content, httpx.TimeoutException),
}


def app(environ, start_response):
    name, _, url = environ["PATH_INFO"][1:].partition("/")
    began = time.monotonic()
    answer = b"ok"
    if name in ASK:
        ask, timeout = ASK[name]
        try:
            answer = ask("http://" + url)
        except timeout as error:
            answer = f"{time.monotonic() - began:.2f} {error}".encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer]


application = resilient_wsgi.wrap(app)

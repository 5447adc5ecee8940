"""One call by each HTTP client, as an app makes it: the body of the answer."""

from __future__ import annotations

import http.client
import urllib.request

import httpx
import requests
import urllib3


def by_http_client(url):
    connection = http.client.HTTPConnection(url.split("/")[2])
    try:
        connection.request("GET", "/")
        with connection.getresponse() as response:
            return response.read()
    finally:
        connection.close()


def by_urllib_request(url):
    with urllib.request.urlopen(url) as response:
        return response.read()


def by_urllib3(url):
    with urllib3.PoolManager(retries=False) as manager:
        return manager.request("GET", url).data


def by_requests(url):
    return requests.get(url).content


def by_httpx(url):
    with httpx.Client(verify=False) as client:
        return client.get(url).content

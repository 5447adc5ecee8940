"""Django's asynchronous views under its WSGI handler, which ask an upstream without a timeout."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import django
import httpx
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path

import resilient_wsgi

settings.configure(
    DEBUG=False, SECRET_KEY="not a secret", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[],
)  # fmt: skip
django.setup()
resilient_wsgi.install(
    {"OUTBOUND": {"READ_TIMEOUT": 60, "TOTAL_TIMEOUT": 60, "CONNECT_TIMEOUT": 60}}
)


async def by_httpx(url):
    async with httpx.AsyncClient(timeout=None) as client:
        return (await client.get(url)).content


async def by_aiohttp(url):
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.read()


ASK = {
    "httpx": (by_httpx, httpx.TimeoutException),
    "aiohttp": (by_aiohttp, asyncio.TimeoutError),
}


async def ask(_request, client, url):
    ask, timeout = ASK[client]
    began = time.monotonic()
    try:
        answer = await ask("http://" + url)
    except timeout as error:
        answer = f"{time.monotonic() - began:.2f} {error}".encode()
    return HttpResponse(answer)


async def ok(_request):
    return HttpResponse(b"ok")


urlpatterns = [path("", ok), path("<str:client>/<path:url>", ask)]
application = resilient_wsgi.wrap(WSGIHandler())

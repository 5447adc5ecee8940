"""What a small shop does: greet, read, write, ask an upstream, log, stream, and be slow at times."""

import logging
import os
import time

import requests
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse

from .models import Product, Purchase

log = logging.getLogger(__name__)


def hello(request):
    return HttpResponse("hello\n", headers={"X-Worker": str(os.getpid())})


def products(request):
    return JsonResponse({"products": list(Product.objects.values("id", "name", "stock"))})


@transaction.atomic
def buy(request):
    product = Product.objects.order_by("id").first()
    Product.objects.filter(pk=product.pk).update(stock=F("stock") - 1)
    return JsonResponse({"purchase": Purchase.objects.create(product=product).pk})


def offers(request):
    try:
        # no timeout: the point of it all
        answer = requests.get(settings.SHOP_UPSTREAM_URL, params={"products": "all"})
        answer.raise_for_status()
    except requests.exceptions.RequestException as error:
        log.warning("no offers: %s: %s", type(error).__name__, error)
        return JsonResponse({"offers": [], "error": "the upstream does not answer"}, status=503)
    return JsonResponse(answer.json())


def noisy(request):
    """Log as much as an app with debug output does: two lines by logging, one to the server's error
    stream.
    """
    lines = int(request.GET.get("lines", "2"))
    for number in range(lines):
        log.info("line %d of %d: %s", number + 1, lines, "x" * 120)
    request.environ["wsgi.errors"].write("noisy has been here\n")
    return HttpResponse("logged\n")


def export(request):
    """Stream the price list piece by piece."""
    pieces = int(request.GET.get("pieces", "20"))
    return StreamingHttpResponse(
        (f"{number};kettle;9.90\n" for number in range(pieces)), content_type="text/csv"
    )


def slow(request):
    time.sleep(settings.SHOP_SLOW_SECONDS)
    log.info("slow: work of %g s done", settings.SHOP_SLOW_SECONDS)
    return HttpResponse("done " + "." * 4096 + "\n")

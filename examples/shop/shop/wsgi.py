"""The WSGI application of the example shop.

SHOP_BACKGROUND_THREAD=1 starts the thread of many a wsgi.py: not a daemon, never asked to stop.
"""

import os
import threading
import time

from django.core.wsgi import get_wsgi_application

from shop import catalogue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

CATALOGUE = catalogue.load()


def refresh_prices():
    while True:
        time.sleep(10)


if os.environ.get("SHOP_BACKGROUND_THREAD") == "1":
    threading.Thread(target=refresh_prices, name="refresh-prices").start()

application = get_wsgi_application()

"""Settings of the example shop. What differs from run to run comes from the environment:

SHOP_DATABASE       path of the SQLite file
SHOP_UPSTREAM_URL    what the view "offers" calls
SHOP_SLOW_SECONDS   how long the view "slow" works (default 0.5)
SHOP_RESILIENT      1: with resilient_wsgi, as a Django app
"""

import os
from pathlib import Path

SECRET_KEY = "not a secret: an example"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
TIME_ZONE = "UTC"
USE_TZ = True
INSTALLED_APPS = ["shop"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get(
            "SHOP_DATABASE", Path(__file__).resolve().parents[1] / "shop.sqlite3"
        ),
        "OPTIONS": {"timeout": 5},
    }
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}

SHOP_UPSTREAM_URL = os.environ.get("SHOP_UPSTREAM_URL", "http://127.0.0.1:8099/offers")
SHOP_SLOW_SECONDS = float(os.environ.get("SHOP_SLOW_SECONDS", "0.5"))

if os.environ.get("SHOP_RESILIENT") == "1":
    INSTALLED_APPS += ["resilient_wsgi.django"]

"""Near cases of the rules about a Django project."""

POSTGRESQL = "django.db.backends.postgresql"
MYSQL = "django.db.backends.mysql"
REDIS = "django.core.cache.backends.redis.RedisCache"
MEMCACHED = "django.core.cache.backends.memcached.PyMemcacheCache"
APP = 'INSTALLED_APPS = ["resilient_wsgi.django"]\n'


def db(engine=POSTGRESQL, host="db", machine="", **more):
    entry = {"ENGINE": engine, "HOST": host, **more}
    return {"django": f"DATABASES = { ({'default': entry})!r}\n", "machine": machine}


def cache(backend, machine="", **more):
    entry = {"BACKEND": backend, **more}
    return {"django": f"CACHES = { ({'default': entry})!r}\n", "machine": machine}


def log(kind, **more):
    handlers = {"h": {"class": f"logging.handlers.{kind}", **more}}
    return {"django": f"LOGGING = { ({'handlers': handlers})!r}\n"}


def settings(text):
    return {"django": text}


CASES = [
    ("D01", settings(""), False),  # mail to localhost: nobody has set it up
    ("D01", settings('EMAIL_HOST = "x"\nEMAIL_BACKEND = "anymail.backends.x.EmailBackend"'), False),
    ("D02", db(OPTIONS={}), True),
    ("D02", db(MYSQL, OPTIONS=None), True),
    ("D02", db("django.contrib.gis.db.backends.postgis"), True),
    ("D02", db(host=""), False),
    ("D02", db(host="/run/postgresql"), False),
    ("D02", db(host=None), False),
    ("D02", db(OPTIONS={"service": "app"}), False),
    ("D02", db("django.db.backends.sqlite3"), False),
    ("D02", {"uwsgi.ini": "[uwsgi]\n"}, False),
    ("D02", settings("DATABASES = 5\n"), False),
    ("D03", db(OPTIONS={"tcp_user_timeout": 5}), False),
    ("D03", db(machine="net.ipv4.tcp_keepalive_time = 60"), False),
    ("D03", db(machine="net.ipv4.tcp_keepalive_time = 7200"), True),
    ("D03", db(), True),
    ("D03", db(host=""), False),
    ("D03", db(MYSQL), False),
    ("D04", db(MYSQL, OPTIONS={"write_timeout": 5}), True),
    ("D04", db(MYSQL, host=""), False),
    ("D04", db(), False),
    ("D05", db(CONN_MAX_AGE=0), False),
    ("D05", db(), False),
    ("D05", db(CONN_MAX_AGE=None), True),
    ("D05", db(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True), False),
    ("D07", cache("django.core.cache.backends.locmem.LocMemCache"), False),
    ("D07", cache(REDIS, LOCATION="redis://x?socket_timeout=5"), False),
    ("D07", cache("django_redis.cache.RedisCache", OPTIONS={"SOCKET_TIMEOUT": 2}), False),
    ("D07", cache(REDIS, OPTIONS={"socket_connect_timeout": 2}), True),
    ("D07", cache(REDIS, machine="redis = 8.1.0"), True),  # a hint
    ("D07", cache(REDIS, machine="redis = 7.4"), True),
    ("D08", settings('CELERY_BROKER_URL = "amqp://x"\n'), False),
    ("D08", settings(""), False),
    ("D09", log("TimedRotatingFileHandler"), True),
    ("D09", log("WatchedFileHandler"), False),
    ("D10", log("SysLogHandler", socktype=1), True),
    ("D10", log("SysLogHandler", socktype=2), False),
    ("D10", log("SysLogHandler"), False),
    ("D10", log("MyHandler", socktype=1), False),
    ("D10", log("SMTPHandler"), True),
    ("D16", settings('SILENCED_SYSTEM_CHECKS = ["security.W018"]\n'), False),
    ("D17", settings(""), False),
    ("D17", settings(APP + 'RESILIENT_WSGI = {"REQUEST": {"MODE": "off"}}\n'), False),
    ("D17", settings(APP + 'RESILIENT_WSGI = {"REQUEST": {"MODE": "report"}}\n'), True),
    ("D17", {"uwsgi.ini": "[uwsgi]\nharakiri = 30\n", **settings(APP)}, False),
    ("D17", {"uwsgi.ini": "[uwsgi]\nharakiri = 0\n", **settings(APP)}, True),
    ("D18", settings('INSTALLED_APPS = ["shop"]\n'), False),
    ("D18", settings(APP), False),
    ("D19", cache(MEMCACHED, OPTIONS={"timeout": 2}), False),
    ("D19", cache(REDIS, OPTIONS={}), False),
]

"""A Django project whose settings are right and whose URLconf fails as readiness_app does, when it
is imported.
"""

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF="readiness_django_urls", SECRET_KEY="not one", DEBUG=False
)
django.setup()
application = get_wsgi_application()

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")
application = get_wsgi_application()

# Django imports these with a worker's first request, when the files may already be those of the next
# release.
import bookshop.urls  # noqa: E402, F401

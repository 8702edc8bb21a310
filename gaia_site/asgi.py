"""What uvicorn serves: Django for HTTP, channels for WebSockets.

uvicorn gaia_site.asgi:application --timeout-graceful-shutdown 2 --lifespan off

Without the time-out it never stops while somebody watches a stream.
"""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gaia_site.settings")
_django = get_asgi_application()  # fills the app registry, which the imports below need

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from gaia_site.origins import ExactOrigin  # noqa: E402
from gaia_site.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter({"http": _django, "websocket": ExactOrigin(URLRouter(websocket_urlpatterns))})

"""Every HTTP route. WebSocket routes are in routing.py."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from gaia_site import api
from services.api_mcp import status as mcp_status

handler404 = "gaia_site.errors.not_found"
handler403 = "gaia_site.errors.refused"
handler500 = "gaia_site.errors.broken"

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("health", api.alive),
    path("ready", api.ready),
    path("mcp/status", mcp_status),
    path("api/multi-env/status", api.status),
    path("api/multi-env/directories", api.directories),
    path("api/multi-env/environments", api.environments),
    path("api/multi-env/pr-groups", api.pr_groups),
    path("api/multi-env/health", api.health),
    path("api/events/", include("events.api_destinations")),  # before the events, or these would be ids of events
    path("api/", include("events.api")),
    path("api/", include("gaia_site.api_schedules")),
    path("api/", include("environments.api_backups")),
    path("api/", include("environments.api")),
    path("api/", include("environments.api_git")),
    path("api/", include("environments.api_ports")),
    path("api/", include("environments.api_health")),
    path("api/", include("environments.api_layers")),
    path("api/", include("policy.api")),
    path("api/", include("processes.api")),
    path("api/", include("services.api")),
    path("api/", include("sessions.api_windows")),  # before the sessions: theirs are whole names
    path("api/", include("sessions.api")),
    path("api/tmux/", include("sessions.api_tmux")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    # split: its script comes in a request of its own, inline the content security policy would stop it
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("admin/", include("gaia_site.console.urls")),
    path("admin/", admin.site.urls),
]

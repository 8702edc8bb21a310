"""What tests of HTTPS work with: a web app that serves it, and real clients."""

from __future__ import annotations

import subprocess
from pathlib import Path

from django.conf import settings

from environments.models import Stage
from tests.environments.drivers.repositories import commit
from tests.environments.places import Place

APP = """import http.server, os, ssl

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(" ".join(os.environ.get(name, "-") for name in ("APP_ENV", "USE_HTTPS", "TLS_CERT")).encode())

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App)
if os.environ.get("TLS_CERT"):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


def serve_tls(place: Place) -> None:
    """Have the place's app serve HTTPS when it is told to."""
    commit(place.source, {"app.py": APP}, "Serve HTTPS")


def curl(url: str, *options: str | Path) -> tuple[int, str]:
    """Exit code and output of a real curl."""
    done = subprocess.run(
        ["curl", "-sS", "-m", "10", *options, url], capture_output=True, text=True, check=False, timeout=30
    )
    return done.returncode, done.stdout


def trusting(stage: Stage, path: str = "/health") -> tuple[int, str]:
    """What curl gets that trusts the local authority and nobody else."""
    return curl(stage.url + path, "--cacert", settings.GAIA.home.ca / "ca.pem")

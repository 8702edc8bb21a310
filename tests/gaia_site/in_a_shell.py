"""A `gaia` that shells find, which starts no Python of its own: it asks this process for a warm one.

What a fix prints is run by `sh -c`, as it is; each `gaia` in it is then a real command line, and costs a fork.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import warm

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 90.0
_CLIENT = """#!{python} -S
import json, os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect({address!r})
asked.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
said = b""
while part := asked.recv(65536):
    said += part
code, out, err = json.loads(said)
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@contextmanager
def gaia_in_path(directory: Path) -> Iterator[Path]:
    """A directory for the front of PATH with `gaia` in it, for as long as the block lasts."""
    directory.mkdir()
    address = str(directory / "s")
    script = directory / "gaia"
    script.write_text(_CLIENT.format(python=sys.executable, address=address))
    script.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        thread = threading.Thread(target=_serve, args=(server,), daemon=True)
        thread.start()
        yield directory
        server.shutdown(socket.SHUT_RDWR)
        thread.join(_PATIENCE_S)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            asked, _ = server.accept()
        except OSError:  # the block has ended
            return
        with asked:
            words, cwd, environ = json.loads(asked.makefile().readline())
            argv = ["-m", "gaia_site.cli", *words]
            done = warm.run(argv, cwd=Path(cwd), environ=environ, timeout=_PATIENCE_S)
            asked.sendall(json.dumps([done.returncode, done.stdout, done.stderr]).encode())


def in_a_shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run what a fix prints, as it is."""
    return subprocess.run(["sh", "-c", command], cwd="/", capture_output=True, text=True, check=False, env=os.environ)

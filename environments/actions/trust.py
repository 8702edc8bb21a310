"""How people have their system and their browsers trust the local authority. GAIA never changes that itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

_NAME = "gaia-local-authority"


def instructions(authority: Path, nickname: str) -> list[dict[str, Any]]:
    """The exact commands, by what is to trust it: `{for, commands, undo}`.

    Args:
        authority: its certificate.
        nickname: what it is called in lists of authorities.
    """
    file, nick = shlex.quote(str(authority)), shlex.quote(nickname)
    debian = f"/usr/local/share/ca-certificates/{_NAME}.crt"
    fedora = f"/etc/pki/ca-trust/source/anchors/{_NAME}.pem"
    keychain = "/Library/Keychains/System.keychain"
    chromium = 'sql:"$HOME"/.pki/nssdb'
    places = '"$HOME"/.mozilla "$HOME"/snap/firefox "$HOME"/Library/"Application Support"/Firefox'
    profiles = f"find {places} -name cert9.db -execdir certutil -d sql:."
    return [
        {
            "for": "Debian, Ubuntu (curl, git, Python and others that ask the system)",
            "commands": [f"sudo cp {file} {debian}", "sudo update-ca-certificates"],
            "undo": [f"sudo rm {debian}", "sudo update-ca-certificates --fresh"],
        },
        {
            "for": "Fedora, RHEL",
            "commands": [f"sudo cp {file} {fedora}", "sudo update-ca-trust"],
            "undo": [f"sudo rm {fedora}", "sudo update-ca-trust"],
        },
        {
            "for": "macOS (Safari, Chrome, curl)",
            "commands": [f"sudo security add-trusted-cert -d -r trustRoot -k {keychain} {file}"],
            "undo": [f"sudo security remove-trusted-cert -d {file}"],
        },
        {
            "for": "Chromium, Chrome on Linux (certutil is in libnss3-tools or nss-tools)",
            "commands": [
                'mkdir -p "$HOME"/.pki/nssdb',
                f'[ -f "$HOME"/.pki/nssdb/cert9.db ] || certutil -d {chromium} -N --empty-password',
                f"certutil -d {chromium} -A -t C,, -n {nick} -i {file}",
            ],
            "undo": [f"certutil -d {chromium} -D -n {nick}"],
        },
        {
            "for": "Firefox, every profile (close it first; places that are not there do not matter)",
            "commands": [f"{profiles} -A -t C,, -n {nick} -i {file} \\;"],
            "undo": [f"{profiles} -D -n {nick} \\;"],
        },
        {
            "for": "one program, for as long as this shell lives",
            "commands": [
                f"export NODE_EXTRA_CA_CERTS={file}  # Node",
                f"export REQUESTS_CA_BUNDLE={file}  # Python's requests: this authority and no other",
                f"curl --cacert {file} https://localhost:PORT/",
            ],
            "undo": ["unset NODE_EXTRA_CA_CERTS REQUESTS_CA_BUNDLE"],
        },
    ]

"""How a stage serves: over HTTP or HTTPS, with which certificate, and whether it answers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from django.conf import settings

from environments.actions import measured
from environments.drivers.health import ANSWER_S, answers
from environments.drivers.launching import TLS_FILES, TLS_PLACE, require_inside
from environments.drivers.partial import cannot_write
from environments.models import Environment, Stage
from events import log

HINT = "Does it serve HTTPS with the files that TLS_CERT and TLS_KEY name (docs/https.md)? "
"""What to look at first when a stage with HTTPS does not answer."""


def answers_on(stage: Stage, path: str, *, timeout: float = ANSWER_S) -> bool:
    """Whether a stage answers 200 on a path, over HTTPS only with a certificate of the local authority.

    Args:
        path: begins with a slash.
        timeout: seconds.
    """
    return answers(stage.url + path, timeout=timeout, authority=settings.GAIA.home.ca / "ca.pem")


def record_https(stage: Stage, on: bool, how: str) -> bool:
    """Write down whether a stage serves HTTPS, when that is not known yet; True when it was not.

    Args:
        how: by whom or what, for the event: `as its .env.local says`.
    """
    if stage.https == on:
        return False
    with log.atomic():
        changed = Stage.objects.filter(pk=stage.pk, https=not on).update(https=on)
        if changed:
            called = f"{stage.called[0].upper()}{stage.called[1:]}"
            log.emit(
                "stage.https_on" if on else "stage.https_off",
                subject=stage.owner,
                message=f"{called} serves {'HTTPS' if on else 'plain HTTP'}, {how}",
            )
    stage.https = on
    measured.export()
    return bool(changed)


def make_authority(*, now: datetime | None = None) -> Path:
    """The local authority's certificate; made, with its event, when there is none that can be used.

    Args:
        now: the time that counts; default the clock's.

    Raises: Unavailable when its directory cannot be used.
    """
    from environments.drivers.authority import ensure_authority  # takes a while to import, and few need it

    authority, made = ensure_authority(settings.GAIA.home.ca, now=now)
    if made:
        with log.atomic():
            log.emit(
                "https.authority_made",
                subject="https/authority",
                message="A local certificate authority was made; how browsers come to trust it: gaia https trust",
            )
    return authority.path


def certify(environment: Environment, *, now: datetime | None = None) -> bool:
    """Bring an environment's certificate into order: made when missing, renewed when it ends within 30 days.

    Args:
        now: the time that counts; default the clock's.

    Returns: whether anything changed.
    Raises: Conflict when its place leads out of the checkout; Unavailable or Refused when nothing can be written.
    """
    from environments.drivers.authority import ensure_certificate

    make_authority(now=now)
    path = Path(environment.path)
    require_inside(path, *TLS_FILES)
    try:
        written = ensure_certificate(settings.GAIA.home.ca, path / TLS_PLACE, environment.directory, now=now)
    except OSError as error:
        raise cannot_write(path / TLS_PLACE, error) from error
    if written:
        with log.atomic():
            log.emit(
                "https.certified",
                subject=environment.key,
                message=f"{environment.directory} has a new certificate; stages that run take it with their next start",
                files=written,
            )
    return bool(written)

"""One at a time: set-up, removal and restoring of a project's environments exclude each other."""

from __future__ import annotations

from contextlib import AbstractContextManager

from django.conf import settings

from common.files import file_lock


def project_lock(project: str) -> AbstractContextManager[None]:
    """Hold a project's lock; it ends with the process that holds it. Raises: Conflict that names the holder."""
    return file_lock(settings.GAIA.home.locks / f"project-{project}.lock", what=f"project {project}")

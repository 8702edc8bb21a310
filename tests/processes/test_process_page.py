"""The page of one start."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from processes.models import Process
from tests.conftest import Operator


@pytest.mark.django_db
def test_says_what_it_may_use_and_why_it_ended(request_sh: Any, operator: Operator) -> None:
    process = request_sh("true", limits={"memory_mb": 512, "quiet_s": "10m"}, user="nobody")
    Process.objects.filter(pk=process.pk).update(enforcement={"memory_mb": "sampling"}, cause="memory")
    client = Client()
    client.force_login(operator.user)
    page = client.get(f"/admin/processes/process/{process.pk}/change/").content.decode()
    for text in ("Most memory", "512 MB", "kept by sampling", "Most time without output", "10 min", "nobody",
                 "It used more memory than it may"):  # fmt: skip
        assert text in page

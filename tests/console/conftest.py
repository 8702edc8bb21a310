"""A signed-in browser without a browser."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.conftest import Operator


@pytest.fixture
def console(operator: Operator) -> Client:
    """The operator's."""
    client = Client()
    client.force_login(operator.user)
    return client

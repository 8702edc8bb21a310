"""What contracts are tried with: nodes, and processes that do not outlive their test."""

from __future__ import annotations

from tests.processes.conftest import leave_nothing, node, request_sh, until

__all__ = ["leave_nothing", "node", "request_sh", "until"]

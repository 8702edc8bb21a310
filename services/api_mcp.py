"""`/mcp/status`: the MCP servers and how they are."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from services.api_shapes import LimitUseSerializer
from services.mcp import CHECK_S, HTTP, STDIO
from services.mcp_status import mcp_status
from services.states import Desired, ServiceState

_Check = inline_serializer(
    "McpCheck",
    {
        "ok": serializers.BooleanField(),
        "answer": serializers.CharField(allow_blank=True),
        "took_ms": serializers.FloatField(),
        "checked_at": serializers.DateTimeField(),
    },
    allow_null=True,
    help_text="null: not asked yet",
)
_Server = inline_serializer(
    "McpServer",
    {
        "name": serializers.CharField(),
        "title": serializers.CharField(allow_blank=True),
        "transport": serializers.ChoiceField(choices=[HTTP, STDIO]),
        "url": serializers.CharField(allow_null=True, help_text="null: each client starts its own"),
        "state": serializers.ChoiceField(choices=ServiceState.choices),
        "desired": serializers.ChoiceField(choices=Desired.choices),
        "since": serializers.DateTimeField(),
        "problem": serializers.CharField(allow_blank=True),
        "pid": serializers.IntegerField(allow_null=True),
        "restarts": serializers.IntegerField(),
        "tools": serializers.IntegerField(allow_null=True, help_text="How many it had when it was last asked"),
        "server": serializers.CharField(allow_null=True, help_text="Its own name and version"),
        "protocol": serializers.CharField(allow_null=True, help_text="Version of MCP that was agreed on"),
        "last_check": _Check,
        "limits": LimitUseSerializer(many=True),
    },
    many=True,
)
_Status = inline_serializer("McpStatus", {"checked_every_s": serializers.FloatField(), "servers": _Server})


@extend_schema(responses=_Status, tags=["mcp"])
@api_view(["GET"])
def status(request: Request) -> Response:
    """Every MCP server: where it answers, whether it does, its tools, and what of its limits is used."""
    return Response({"checked_every_s": CHECK_S, "servers": mcp_status()})

"""`/api/operations/`: long work, its progress, its log, cancelling it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import GenericViewSet

from common.errors import Conflict, InvalidInput
from processes.actions.logs import read_on
from processes.actions.operations import request_cancel
from processes.models import Operation

_OFFSET = re.compile(r"[0-9]{1,15}")


IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="Repeating a request with it starts nothing twice"
)
"""The header of requests that start an operation."""


class OperationSerializer(serializers.ModelSerializer[Operation]):
    fraction = serializers.FloatField(read_only=True, help_text="How far it is, 0 to 1")

    class Meta:
        model = Operation
        fields = [
            "id", "kind", "title", "subject", "state", "fraction", "message", "result", "error", "actor",
            "created_at", "started_at", "ended_at",
        ]  # fmt: skip
        read_only_fields = fields


class LogPartSerializer(serializers.Serializer[dict[str, Any]]):
    text = serializers.CharField()
    next_offset = serializers.IntegerField(help_text="Pass it as ?offset= to get what comes after")


class OperationViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Operation]):
    """Operations, newest first."""

    queryset = Operation.objects.all()
    serializer_class = OperationSerializer
    filterset_fields = ["state", "kind", "subject"]
    search_fields = ["title"]
    ordering_fields = ["id", "created_at", "ended_at"]

    @extend_schema(request=None, responses={202: OperationSerializer})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Ask an operation to stop at its next safe point."""
        operation = self.get_object()
        if not request_cancel(operation) and not operation.active:
            raise Conflict(f"operation {operation.pk} is already {operation.state}")
        operation.refresh_from_db()
        return Response(self.get_serializer(operation).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(responses=LogPartSerializer, parameters=[OpenApiParameter("offset", int)], filters=False)
    @action(detail=True, methods=["get"])
    def log(self, request: Request, pk: str) -> Response:
        """What it has written, from an offset in bytes."""
        text = request.query_params.get("offset", "0")
        if not _OFFSET.fullmatch(text):
            raise InvalidInput(f"offset must be a number of bytes, not {text[:80]!r}")
        part, next_offset = read_on(Path(self.get_object().log), int(text))
        return Response({"text": part, "next_offset": next_offset})


router = SimpleRouter()
router.register("operations", OperationViewSet, basename="operation")
urlpatterns = router.urls

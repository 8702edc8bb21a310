"""`/api/panic`: whether a panic holds, declaring one, lifting it."""

from __future__ import annotations

from typing import Any

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from policy import panic


class PanicSerializer(serializers.Serializer[dict[str, Any]]):
    panic = serializers.BooleanField(help_text="Whether one holds: then nobody can type into any session")
    by = serializers.CharField(allow_null=True, help_text="Actor who declared it")
    at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    lifted_by = serializers.CharField(allow_null=True)
    lifted_at = serializers.DateTimeField(allow_null=True)


class DeclaredSerializer(PanicSerializer):
    first = serializers.BooleanField(help_text="False: somebody had declared it already, and it is that one")


class DeclareSerializer(serializers.Serializer[dict[str, Any]]):
    reason = serializers.CharField(default="", allow_blank=True, max_length=panic.LONGEST_REASON)


class PanicView(APIView):
    """The emergency brake."""

    @extend_schema(responses=PanicSerializer)
    def get(self, request: Request) -> Response:
        """Whether a panic holds, whose it is and why."""
        return Response(panic.describe(panic.standing()))

    @extend_schema(request=DeclareSerializer, responses={200: DeclaredSerializer, 201: DeclaredSerializer})
    def post(self, request: Request) -> Response:
        """Refuse all input to all sessions; 200 when somebody had declared a panic already."""
        body = DeclareSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        holds, first = panic.declare(body.validated_data["reason"])
        code = status.HTTP_201_CREATED if first else status.HTTP_200_OK
        return Response({**panic.describe(holds), "first": first}, status=code)

    @extend_schema(responses={200: PanicSerializer})
    def delete(self, request: Request) -> Response:
        """Lift it: sessions take input again. Answers with what was lifted, or that none held."""
        return Response(panic.describe(panic.lift()))


urlpatterns = [path("panic", PanicView.as_view())]

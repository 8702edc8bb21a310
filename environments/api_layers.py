"""`/api/layers/`: layers as data, what has drifted from them, and `/api/environments/NAME/layer/`, which sets one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import ViewSet

from environments.actions import health, layer_change, layers, stages
from environments.api_health import FindingSerializer
from environments.states import Engine, McpSet, Need
from processes.api import IDEMPOTENCY_KEY, OperationSerializer


class LayerFieldsSerializer(serializers.Serializer[dict[str, Any]]):
    purpose = serializers.CharField(required=False, allow_blank=True)
    position = serializers.IntegerField(required=False, help_text="Where it stands in the list")
    engine = serializers.ChoiceField(choices=Engine.choices, required=False)
    first_port = serializers.IntegerField(required=False, allow_null=True, help_text="Null: stages have their own")
    last_port = serializers.IntegerField(required=False, allow_null=True)
    mcp = serializers.ChoiceField(choices=McpSet.choices, required=False)
    mcp_servers = serializers.ListField(child=serializers.CharField(), required=False, help_text="The basic ones")
    services = serializers.ListField(child=serializers.CharField(), required=False, help_text="That should run for it")
    needs = serializers.ListField(child=serializers.ChoiceField(choices=Need.choices), required=False)
    variables = serializers.DictField(child=serializers.CharField(allow_blank=True), required=False)
    postgresql_url = serializers.CharField(required=False, allow_blank=True, write_only=True)
    production = serializers.BooleanField(required=False, help_text="Its data is kept from every other layer")


class NewLayerSerializer(LayerFieldsSerializer):
    name = serializers.CharField()


class LayerSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField()
    purpose = serializers.CharField()
    position = serializers.IntegerField()
    engine = serializers.ChoiceField(choices=Engine.choices)
    server = serializers.CharField(help_text="Its PostgreSQL server, without a password; empty: none is configured")
    ports = serializers.ListField(
        child=serializers.IntegerField(), allow_null=True, help_text="First and last; null: stages have their own"
    )
    mcp = serializers.ChoiceField(choices=McpSet.choices)
    mcp_servers = serializers.ListField(child=serializers.CharField())
    services = serializers.ListField(child=serializers.CharField())
    needs = serializers.ListField(child=serializers.CharField())
    variables = serializers.DictField(child=serializers.CharField(), help_text="Secret ones without their values")
    production = serializers.BooleanField()
    environments = serializers.ListField(child=serializers.CharField(), help_text="Directories of those in it")


class DriftSerializer(serializers.Serializer[dict[str, Any]]):
    environment = serializers.CharField()
    layer = serializers.CharField()
    findings = FindingSerializer(many=True, help_text="What is not as the layer says; none: all is")


class SetLayerSerializer(serializers.Serializer[dict[str, Any]]):
    layer = serializers.CharField()
    restart = serializers.BooleanField(default=False, help_text="Stop stages that run before, start them again after")
    dry_run = serializers.BooleanField(default=False, help_text="Only answer with the plan")


class LayerPlanSerializer(serializers.Serializer[dict[str, Any]]):
    environment = serializers.CharField()
    before = serializers.CharField()
    layer = serializers.CharField()
    engine = serializers.ChoiceField(choices=Engine.choices)
    ports = serializers.ListField(child=serializers.DictField(), help_text="`{stage, before, port}` of those that move")
    databases = serializers.ListField(child=serializers.DictField(), help_text="`{stage, engine, name, exists}`")
    mcp = serializers.ListField(child=serializers.CharField(), help_text="MCP servers its sessions may use then")
    running = serializers.ListField(child=serializers.CharField(), help_text="Stages that have to be restarted")
    notes = serializers.ListField(child=serializers.CharField())


_NAME = OpenApiParameter("id", str, OpenApiParameter.PATH, description="Its name")
_ID = OpenApiParameter("id", str, OpenApiParameter.PATH)


class LayerViewSet(ViewSet):
    """What environments stand on."""

    lookup_value_regex = r"[A-Za-z0-9_-]+"

    @extend_schema(responses=LayerSerializer(many=True), filters=False)
    def list(self, request: Request) -> Response:
        """Every layer, with its environments."""
        return Response(layers.layers_overview())

    @extend_schema(responses=LayerSerializer, parameters=[_NAME])
    def retrieve(self, request: Request, pk: str) -> Response:
        """One layer."""
        return Response(layers.describe(layers.find_layer(pk)))

    @extend_schema(request=NewLayerSerializer, responses={201: LayerSerializer})
    def create(self, request: Request) -> Response:
        """Make a layer of your own."""
        body = NewLayerSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = dict(body.validated_data)
        made = layers.add(wanted.pop("name"), wanted)
        return Response(layers.describe(made), status=status.HTTP_201_CREATED)

    @extend_schema(request=LayerFieldsSerializer, responses=LayerSerializer, parameters=[_NAME])
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change what a layer is; its environments follow when they are put into it again."""
        body = LayerFieldsSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        layer = layers.find_layer(pk)
        layers.change(layer, dict(body.validated_data))
        return Response(layers.describe(layer))

    @extend_schema(request=None, responses={204: None}, parameters=[_NAME])
    def destroy(self, request: Request, pk: str) -> Response:
        """Forget a layer that no environment is in."""
        layers.remove(layers.find_layer(pk))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        responses=DriftSerializer(many=True),
        parameters=[OpenApiParameter("environment", str, description="Only this one")],
        filters=False,
    )
    @action(detail=False, methods=["get"])
    def drift(self, request: Request) -> Response:
        """What of environments is not as their layer says, looked at now."""
        name = request.query_params.get("environment")
        return Response(health.drift([stages.find_environment(name)] if name else None))


class EnvironmentLayerViewSet(ViewSet):
    """The layer of an environment, by directory name (`demo-dev1`) or name (`dev1`)."""

    lookup_value_regex = r"[A-Za-z0-9_-]+"

    @extend_schema(
        request=SetLayerSerializer,
        responses={200: LayerPlanSerializer, 202: OperationSerializer},
        parameters=[_ID, IDEMPOTENCY_KEY],
    )
    @action(detail=True, methods=["post"], url_path="layer", url_name="layer")
    def set_layer(self, request: Request, pk: str) -> Response:
        """Put it into a layer: ports, databases, files and MCP servers follow; or the plan when `dry_run`."""
        body = SetLayerSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = body.validated_data
        environment, layer = stages.find_environment(pk), layers.find_layer(wanted["layer"])
        if wanted["dry_run"]:
            return Response(layer_change.plan(environment, layer).as_dict())
        key = request.headers.get("Idempotency-Key")
        operation = layer_change.request_layer(environment, layer, restart=wanted["restart"], idempotency_key=key)
        return Response(operation.as_dict(), status=status.HTTP_202_ACCEPTED)


router = SimpleRouter()
router.register("layers", LayerViewSet, basename="layer")
router.register("environments", EnvironmentLayerViewSet, basename="environment-layer")
urlpatterns = router.urls

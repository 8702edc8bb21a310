"""`/api/orchestration/services/`: what should stay up: definitions, starting and stopping, health, logs, figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import GenericViewSet

from common.errors import InvalidInput
from common.names import NAME_PATTERN
from events.api import EventSerializer, Position
from services import history, logs
from services.actions import definitions, registry, running
from services.actions.requests import once
from services.api_shapes import (
    CHANGE_EXAMPLES,
    DEFINITION_EXAMPLES,
    ServiceDefinitionSerializer,
    ServiceDetailSerializer,
    ServiceHealthSerializer,
    ServiceLogSerializer,
    ServiceMetricsSerializer,
    ServiceRegistrySerializer,
    ServiceSerializer,
    ServicesImportedSerializer,
    StopServiceSerializer,
)
from services.changes import merged
from services.models import Service
from services.overview import service_overview, services_overview
from services.spec import parse_spec

SPANS = {"1h": 3600, "24h": 86_400, "7d": 604_800}
_ID = OpenApiParameter("id", str, OpenApiParameter.PATH, description="Its name, or its number")
_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="Repeating a request with it does nothing twice"
)
_START = OpenApiParameter("start", bool, description="Start it at once; default false")
_DRY_RUN = OpenApiParameter("dry_run", bool, description="Say what would change, and change nothing")
_LONGEST_LOG = 10_000


class ServiceViewSet(GenericViewSet[Service]):
    """Services by name (`api-server`) or number."""

    queryset = Service.objects.all()
    serializer_class = ServiceSerializer  # type: ignore[assignment]  # of described services, not of rows
    parser_classes = (JSONParser,)
    lookup_url_kwarg = "id"
    lookup_value_regex = NAME_PATTERN
    filterset_fields = ("state", "kind", "desired")
    search_fields = ("name", "title", "owner")
    ordering_fields = ("name", "state", "state_since", "restarts", "kind", "created_at")

    @extend_schema(responses=ServiceSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Services with their state, figures, probes and limits."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response(services_overview(page))

    @extend_schema(
        request=ServiceDefinitionSerializer,
        responses={201: ServiceDetailSerializer},
        parameters=[_START, _KEY],
        examples=DEFINITION_EXAMPLES,
    )
    def create(self, request: Request) -> Response:
        """Register a service: its definition as JSON."""
        start = _flag(request, "start")
        spec = parse_spec(_object(request.data))
        service = _once(request, "register", spec.name, lambda: definitions.register(spec, start=start))
        return Response(_detail(service), status=status.HTTP_201_CREATED)

    @extend_schema(responses=ServiceDetailSerializer, parameters=[_ID])
    def retrieve(self, request: Request, id: str) -> Response:  # noqa: A002  the path's own word
        """One service, and its definition without the values of its secrets."""
        return Response(_detail(running.find_service(id)))

    @extend_schema(
        request=ServiceDefinitionSerializer,
        responses=ServiceDetailSerializer,
        parameters=[_ID],
        examples=DEFINITION_EXAMPLES,
    )
    def update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Replace its definition; a secret that is null keeps the value it has."""
        wanted = _object(request.data)  # a body that is none is told before a name that is none
        return Response(_detail(definitions.redefine(running.find_service(id), parse_spec(wanted))))

    @extend_schema(
        request=ServiceDefinitionSerializer(partial=True),
        responses=ServiceDetailSerializer,
        parameters=[_ID],
        examples=CHANGE_EXAMPLES,
    )
    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Change parts of its definition: what is named is replaced, null takes a field away."""
        changes, service = _object(request.data), running.find_service(id)
        wanted = merged(registry.definition_of(service), changes)
        return Response(_detail(definitions.redefine(service, parse_spec(wanted))))

    @extend_schema(responses={204: OpenApiResponse(description="It is forgotten")}, parameters=[_ID])
    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Unregister it. Its files and its log stay."""
        definitions.unregister(running.find_service(id))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={202: ServiceDetailSerializer}, parameters=[_ID, _KEY])
    @action(detail=True, methods=["post"])
    def start(self, request: Request, id: str) -> Response:  # noqa: A002
        """Have it run from now on; what it depends on is waited for."""
        service = running.find_service(id)
        return _accepted(_once(request, "start", service.name, lambda: running.start(service)))

    @extend_schema(request=StopServiceSerializer, responses={202: ServiceDetailSerializer}, parameters=[_ID, _KEY])
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, id: str) -> Response:  # noqa: A002
        """Have it stay down: TERM, and KILL after its grace; not graceful: KILL at once."""
        graceful, service = _graceful(request), running.find_service(id)
        return _accepted(_once(request, "stop", service.name, lambda: running.stop(service, graceful=graceful)))

    @extend_schema(request=StopServiceSerializer, responses={202: ServiceDetailSerializer}, parameters=[_ID, _KEY])
    @action(detail=True, methods=["post"])
    def restart(self, request: Request, id: str) -> Response:  # noqa: A002
        """End it and start it again, through the same gates."""
        graceful, service = _graceful(request), running.find_service(id)
        return _accepted(_once(request, "restart", service.name, lambda: running.restart(service, graceful=graceful)))

    @extend_schema(responses=ServiceHealthSerializer, parameters=[_ID], filters=False)
    @action(detail=True, methods=["get"])
    def health(self, request: Request, id: str) -> Response:  # noqa: A002
        """Its probes with their last answers, and how they answered before."""
        service = running.find_service(id)
        one = service_overview(service)
        shown = {name: one[name] for name in ("state", "since", "problem", "probes")}
        return Response({**shown, "ready_at": service.ready_at, "history": history.health_history(service)})

    @extend_schema(
        responses=ServiceLogSerializer,
        filters=False,
        parameters=[
            _ID,
            OpenApiParameter("lines", int, description=f"The last so many, 1 to {_LONGEST_LOG:,}; default 100"),
            OpenApiParameter("offset", int, description="Instead: what comes after, as `next_offset` said"),
        ],
    )
    @action(detail=True, methods=["get"])
    def logs(self, request: Request, id: str) -> Response:  # noqa: A002
        """What it has written; follow it by asking with the last answer's `next_offset`."""
        service = running.find_service(id)
        offset = _number(request, "offset", 0, 2**53)
        if offset is not None:
            return Response(logs.read_on(service, offset))
        return Response(logs.read_end(service, _number(request, "lines", 1, _LONGEST_LOG) or 100))

    @extend_schema(
        responses=ServiceMetricsSerializer,
        filters=False,
        parameters=[_ID, OpenApiParameter("span", str, enum=[*SPANS], description="Default 1h")],
    )
    @action(detail=True, methods=["get"])
    def metrics(self, request: Request, id: str) -> Response:  # noqa: A002
        """CPU and memory over time."""
        service, span = running.find_service(id), request.query_params.get("span", "1h")
        if span not in SPANS:
            raise InvalidInput(f"there is no span {span[:40]!r}", fix=f"Spans: {', '.join(SPANS)}.")
        return Response({"span": span, **history.metrics(service, SPANS[span])})

    @extend_schema(responses=EventSerializer(many=True), parameters=[_ID], filters=False)
    @action(detail=True, methods=["get"], pagination_class=Position, serializer_class=EventSerializer)
    def events(self, request: Request, id: str) -> Response:  # noqa: A002
        """What happened to it, newest first; pages as in `/api/events/`."""
        service = running.find_service(id)
        found: Any = history.events_of(service)  # the view is of services
        page: list[Any] = self.paginate_queryset(found) or []
        return self.get_paginated_response([event.as_dict() for event in page])

    @extend_schema(responses=ServiceRegistrySerializer, filters=False)
    @action(detail=False, methods=["get"], pagination_class=None)
    def export(self, request: Request) -> Response:
        """All definitions, as `import` takes them; secrets without their values."""
        return Response(registry.registry())

    @extend_schema(request=ServiceRegistrySerializer, responses=ServicesImportedSerializer, parameters=[_DRY_RUN])
    @action(detail=False, methods=["post"], url_path="import", url_name="import")
    def import_(self, request: Request) -> Response:
        """Register what is new and redefine what differs; what it does not name stays as it is."""
        done = registry.import_definitions(_object(request.data), dry_run=_flag(request, "dry_run"))
        return Response(done.as_dict())


def _detail(service: Service) -> dict[str, Any]:
    return {**service_overview(service), "definition": registry.definition_of(service)}


def _accepted(service: Service) -> Response:
    return Response(_detail(service), status=status.HTTP_202_ACCEPTED)


def _once(request: Request, verb: str, name: str, act: Callable[[], Service]) -> Service:
    asked = {"verb": verb, "name": name, "body": request.data, "query": request.query_params.dict()}
    return once(request.headers.get("Idempotency-Key"), name, asked, act)


def _graceful(request: Request) -> bool:
    body = StopServiceSerializer(data=_object(request.data))
    body.is_valid(raise_exception=True)
    return bool(body.validated_data["graceful"])


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidInput("the body is no JSON object", fix='Send {"name": "api-server", "command": "go", …}.')
    return data


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false").lower()
    if text not in {"1", "true", "yes", "0", "false", "no"}:
        raise InvalidInput(f"{name} is true or false, not {text[:40]!r}")
    return text in {"1", "true", "yes"}


def _number(request: Request, name: str, least: int, most: int) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 17 and least <= int(text) <= most):
        raise InvalidInput(f"{name} must be a whole number, {least} to {most}, not {text[:40]!r}")
    return int(text)


router = SimpleRouter()
router.register("orchestration/services", ServiceViewSet, basename="service")
urlpatterns = router.urls

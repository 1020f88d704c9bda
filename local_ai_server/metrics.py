"""Figures for Prometheus. No label names a call, a session or a client."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from local_ai_server.switchboard import Switchboard

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 15.0)


class ServerMetrics:
    """One server's figures, in a registry of their own."""

    def __init__(self, switchboard: Switchboard) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Workers(switchboard))
        self.sessions = Gauge("local_ai_sessions", "Open WebSocket sessions.", registry=self._registry)
        self._requests = Counter(
            "local_ai_requests", "Requests that ended.", ("operation", "outcome"), registry=self._registry
        )
        self._seconds = Histogram(
            "local_ai_request_seconds",
            "From a request's arrival to its end.",
            ("operation",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._first = Histogram(
            "local_ai_first_output_seconds",
            "From a request's arrival to its first token or audio.",
            ("operation",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._refused = Counter(
            "local_ai_refused_messages", "Messages answered with an error.", ("code",), registry=self._registry
        )

    def request_ended(self, operation: str, outcome: str, seconds: float) -> None:
        self._requests.labels(operation, outcome).inc()
        self._seconds.labels(operation).observe(seconds)

    def first_output(self, operation: str, seconds: float) -> None:
        self._first.labels(operation).observe(seconds)

    def refused(self, code: str) -> None:
        self._refused.labels(code).inc()

    def render(self) -> bytes:
        """The text that `/metrics` answers with."""
        return generate_latest(self._registry)


class _Workers:
    """The workers' state, read when somebody asks."""

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard

    def collect(self) -> Iterable[Metric]:
        labels = ("kind", "backend")
        up = GaugeMetricFamily("local_ai_worker_ready", "1 when the worker serves.", labels=labels)
        memory = GaugeMetricFamily("local_ai_worker_rss_bytes", "Resident memory of the worker.", labels=labels)
        waiting = GaugeMetricFamily("local_ai_requests_waiting", "Requests in the queue.", labels=labels)
        running = GaugeMetricFamily("local_ai_requests_running", "Requests in the worker.", labels=labels)
        restarts = CounterMetricFamily("local_ai_worker_restarts", "Times the worker was restarted.", labels=labels)
        for service in self._switchboard.services:
            stats = service.link.stats()
            names = (service.label, service.backend.name)
            up.add_metric(names, float(service.ready))
            memory.add_metric(names, stats.rss_bytes)
            waiting.add_metric(names, service.waiting)
            running.add_metric(names, service.running)
            restarts.add_metric(names, stats.restarts)
        return (up, memory, waiting, running, restarts)

"""An HTTP server that answers as Asterisk 22's ARI does, for what cannot be made to happen with a real one on demand.

Statuses and bodies are those of a real Asterisk 22.10.1; the model is
https://docs.asterisk.org/Latest_API/API_Documentation/Asterisk_REST_Interface/
"""

import asyncio
import base64
import json
import ssl
from typing import Any

from aiohttp import web

USER, PASSWORD, APP = "agent", "agent-secret", "parley"


def channel(channel_id: str, *, app: str | None = APP, state: str = "Up", **more: Any) -> dict[str, Any]:
    """ARI's Channel model as Asterisk writes it."""
    return {
        "id": channel_id,
        "name": f"PJSIP/6001-{channel_id}",
        "state": state,
        "protocol_id": "call-id@host",
        "caller": {"name": "Ann", "number": "6001"},
        "connected": {"name": "", "number": ""},
        "accountcode": "",
        "dialplan": {
            "context": "from-phone",
            "exten": "700",
            "priority": 2,
            "app_name": "Stasis" if app else "Echo",
            "app_data": f"{app},700" if app else "",
        },
        "creationtime": "2026-11-21T06:34:21.640+0000",
        "language": "en",
        **more,
    }


def bridge(bridge_id: str, *channel_ids: str) -> dict[str, Any]:
    """ARI's Bridge model."""
    return {
        "id": bridge_id,
        "technology": "simple_bridge",
        "bridge_type": "mixing",
        "bridge_class": "stasis",
        "creator": "Stasis",
        "name": "",
        "channels": list(channel_ids),
        "creationtime": "2026-11-21T06:34:21.641+0000",
        "video_mode": "talker",
    }


def event(kind: str, **fields: Any) -> dict[str, Any]:
    """An event with the fields all have."""
    return {
        "type": kind,
        "timestamp": "2026-11-21T06:34:22.048+0000",
        "asterisk_id": "02:fc:00:00:00:01",
        "application": APP,
        **fields,
    }


class AriStandIn:
    """State that a test sets, requests that it reads, sockets that it speaks through."""

    def __init__(self) -> None:
        self.channels: dict[str, dict[str, Any]] = {}
        self.bridges: dict[str, dict[str, Any]] = {}
        self.variables: dict[tuple[str, str], str] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[Any] = []
        self.user_events: list[tuple[str, str, dict[str, str]]] = []
        """Name, application and variables of each."""
        self.user_event_status = 204
        self.sent_packets: dict[str, tuple[int, int]] = {}
        """Of RTP to a channel: how many by now, and how many more at the next look."""
        self.other_apps: dict[str, list[str]] = {}
        """Applications of others, and the channels that each is subscribed to."""
        self.sockets: list[web.WebSocketResponse] = []
        self.handshakes = 0
        self.app_taken_by_other = False
        self.events_reach_clients = True
        """False: the application is out of service, though its socket is open."""
        self.canned: dict[tuple[str, str], web.Response | float] = {}
        """Answers for (method, path), or the seconds to stay silent."""
        self.socket_opened = asyncio.Event()
        self.url = ""
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        app = web.Application()
        app.router.add_get("/ari/events", self._events)
        app.router.add_route("*", "/ari/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=tls)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self.drop()
            await self._runner.cleanup()
            self._runner = None

    async def send(self, message: dict[str, Any] | str) -> None:
        """Send one event on the newest socket."""
        await self.sockets[-1].send_str(message if isinstance(message, str) else json.dumps(message))

    async def drop(self) -> None:
        """End every event socket."""
        sockets, self.sockets = self.sockets, []
        for socket in sockets:
            await socket.close()

    async def connected(self) -> None:
        """Wait for the next event socket, or for the one that is there."""
        while not self.sockets:
            self.socket_opened.clear()
            await self.socket_opened.wait()

    def asked(self, method: str) -> list[str]:
        return [path for verb, path, _ in self.requests if verb == method]

    def _refusal(self, request: web.Request) -> web.Response | None:
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") == expected:
            return None
        headers = {"WWW-Authenticate": 'Basic realm="Asterisk REST Interface"'}
        return web.json_response({"message": "Authentication required"}, status=401, headers=headers)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self.handshakes += 1
        if (refusal := self._refusal(request)) is not None:
            return refusal
        canned = self.canned.get(("GET", "/events"))
        if isinstance(canned, web.Response):
            return canned
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        self.socket_opened.set()
        async for _ in socket:
            pass
        if socket in self.sockets:
            self.sockets.remove(socket)
        return socket

    async def _answer(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        path = "/" + request.match_info["rest"]
        query = dict(request.query)
        self.requests.append((request.method, path, query))
        text = await request.text()
        self.bodies.append(json.loads(text) if text else None)
        canned = self.canned.get((request.method, path))
        if isinstance(canned, float):
            await asyncio.sleep(canned)
        elif canned is not None:
            return canned
        parts = path.strip("/").split("/")
        if request.method == "POST" and parts[:2] == ["events", "user"]:
            return await self._user_event(parts[2], query.get("application", ""))
        return self._route(request.method, parts, query)

    async def _user_event(self, name: str, app: str) -> web.Response:
        body = self.bodies[-1] or {}
        if self.user_event_status != 204:
            return _failure(self.user_event_status, "Application not found")
        self.user_events.append((name, app, body.get("variables", {})))
        if app == APP and self.sockets and self.events_reach_clients:
            fields = {"eventname": name, "userevent": {**body.get("variables", {}), "eventname": name}}
            await self.send(event("ChannelUserevent", **fields))
        return (
            web.Response(status=204) if app == APP or app in self.other_apps else _failure(404, "Application not found")
        )

    def _application(self, app: str) -> dict[str, Any]:
        """ARI's Application model; a channel has one entry however often the application is subscribed to it."""
        return _plain_application(app, sorted(set(self.other_apps.get(app, []))), [])

    def _route(self, method: str, parts: list[str], query: dict[str, str]) -> web.Response:
        match method, parts:
            case "GET", ["asterisk", "ping"]:
                return web.json_response({"asterisk_id": "02:fc:00:00:00:01", "ping": "pong"})
            case "GET", ["applications"]:
                return web.json_response([self._application(app) for app in (APP, *self.other_apps)])
            case "GET", ["applications", app] if app in self.other_apps:
                return web.json_response(self._application(app))
            case "DELETE", ["applications", app, "subscription"]:
                channel_id = query["eventSource"].removeprefix("channel:")
                if channel_id not in self.other_apps.get(app, []):
                    return _failure(409, "Application not subscribed to event source")
                self.other_apps[app].remove(channel_id)
                return web.json_response(self._application(app))
            case "GET", ["applications", app]:
                if not self.sockets and not self.app_taken_by_other:
                    return _failure(404, "Application not found")
                held = [c["id"] for c in self.channels.values() if c["dialplan"]["app_data"].split(",")[0] == app]
                answer = {"name": app, "channel_ids": held, "bridge_ids": list(self.bridges), "endpoint_ids": []}
                return web.json_response(answer)
            case "GET", ["channels"]:
                return web.json_response(list(self.channels.values()))
            case "GET", ["bridges"]:
                return web.json_response(list(self.bridges.values()))
            case "POST", ["channels", "externalMedia"]:
                made = channel(query["channelId"], channelvars=_RTP)
                self.channels[made["id"]] = made
                return web.json_response(made)
            case "POST", ["bridges"]:
                if query["bridgeId"] in self.bridges:
                    return _failure(409, f"Bridge with id '{query['bridgeId']}' already exists")
                self.bridges[query["bridgeId"]] = made = bridge(query["bridgeId"])
                return web.json_response(made)
            case _, ["channels", channel_id, *_] if channel_id not in self.channels:
                return _failure(404, "Channel not found")
            case _, ["bridges", bridge_id, *_] if bridge_id not in self.bridges:
                return _failure(404, "Bridge not found")
            case "GET", ["channels", channel_id]:
                return web.json_response(self.channels[channel_id])
            case "GET", ["channels", channel_id, "variable"]:
                value = self.variables.get((channel_id, query["variable"]))
                if value is None:
                    return _failure(404, "Provided variable was not found")
                return web.json_response({"value": value})
            case "GET", ["channels", channel_id, "rtp_statistics"]:
                if channel_id not in self.sent_packets:
                    return _failure(404, "RTP info not found")
                packets, more = self.sent_packets[channel_id]
                self.sent_packets[channel_id] = (packets + more, more)
                return web.json_response({"txcount": packets, "rxcount": 0})
            case "POST", ["channels", _, "play", playback_id]:
                return web.json_response({"id": playback_id, "state": "queued"}, status=201)
            case "DELETE", ["channels", channel_id]:
                del self.channels[channel_id]
            case "DELETE", ["bridges", bridge_id]:
                del self.bridges[bridge_id]
            case "POST", ["bridges", _, "addChannel" | "removeChannel"] if not all(
                channel_id in self.channels for channel_id in query["channel"].split(",")
            ):
                return _failure(400, "Channel not found")
            case "POST", ["channels" | "bridges", *_]:
                pass
            case _:
                return _failure(404, "Resource not found")
        return web.Response(status=204)


def _plain_application(app: str, channel_ids: list[str], bridge_ids: list[str]) -> dict[str, Any]:
    return {"name": app, "channel_ids": channel_ids, "bridge_ids": bridge_ids, "endpoint_ids": [], "device_names": []}


_RTP = {"UNICASTRTP_LOCAL_PORT": "21090", "UNICASTRTP_LOCAL_ADDRESS": "127.0.0.1"}


def _failure(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)

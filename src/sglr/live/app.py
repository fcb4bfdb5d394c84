"""The page's web application: three files, events, and one request that changes something."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qsl, quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sglr.live.access import HEADERS, Access
from sglr.live.folder_view import FolderView
from sglr.live.hub import Hub
from sglr.live.run_view import RunView
from sglr.live.view import View
from sglr.runs.stop_file import EPOCH, STEP, request_stop

STATIC = Path(__file__).parent / "static"
FILES = {"live.js": "text/javascript", "live.css": "text/css"}

MOST_BROWSERS, MOST_BODY = 64, 2000
"""Streams at a time, and bytes of a request to stop."""

NO_RUN = "There is no such run here.\n"
NO_TOKEN = "This page needs its token: open it by the address that sglr printed where it runs.\n"


class Pages:
    """What is shown at which address.

    Parameters
    ----------
    view
        What the first page shows.
    access
        Who may do what.
    ending
        Returns whether the process is about to end.
    """

    def __init__(self, view: View, access: Access, ending: Callable[[], bool]) -> None:
        self._view, self._access, self._ending = view, access, ending
        self._hubs: dict[str, Hub] = {}
        self._streams = 0

    def app(self) -> ASGIApp:
        """Return the application."""
        shown = [Route(path, self._page) for path in ("/", "/runs/{name:path}")]
        files = [Route(f"/{name}", self._file) for name in FILES]
        events = [Route(path, self._events) for path in ("/events", "/events/runs/{name:path}")]
        further = [Route("/session", self._session), Route("/stop", self._stop, methods=["POST"])]
        return Guard(Starlette(routes=[*shown, *files, *events, *further]), self._access)

    async def _page(self, request: Request) -> Response:
        if self._find(request.path_params.get("name", "")) is None:
            return PlainTextResponse(NO_RUN, 404)
        return Response((STATIC / "page.html").read_bytes(), media_type="text/html")

    async def _file(self, request: Request) -> Response:
        name = request.url.path.removeprefix("/")
        return Response((STATIC / name).read_bytes(), media_type=FILES[name])

    async def _session(self, request: Request) -> Response:
        """Tell the page what it sends with a request to stop, if whoever opened it may stop a run."""
        may_stop = self._access.holds_token(request.headers.get("cookie", ""))
        return JSONResponse({"page": self._access.page if may_stop else None})

    async def _events(self, request: Request) -> Response:
        name = request.path_params.get("name", "")
        view = self._find(name)
        if view is None:
            return PlainTextResponse(NO_RUN, 404)
        if self._streams >= MOST_BROWSERS:
            return PlainTextResponse("Too many pages are open.\n", 503)
        hub = self._hubs.get(name)
        if hub is None or not hub.watched:
            hub = self._hubs[name] = Hub(view, self._ending)
        return StreamingResponse(self._counted(hub), media_type="text/event-stream")

    async def _counted(self, hub: Hub) -> AsyncIterator[bytes]:
        self._streams += 1
        try:
            async for event in hub.events():
                yield event
        finally:
            self._streams -= 1

    def _find(self, name: str) -> View | None:
        if not name:
            return self._view
        return self._view.run(name) if isinstance(self._view, FolderView) else None

    async def _stop(self, request: Request) -> Response:
        """Leave a request to stop in the run's folder."""
        refused = self._access.refusal_of_stop(request.headers)
        if refused:
            return PlainTextResponse(f"Not stopped: {refused}.\n", 403)
        asked = await _asked(request)
        if asked is None:
            return PlainTextResponse('Not stopped: send {"run": …, "after": "step" or "epoch"} as JSON.\n', 400)
        problem = await run_in_threadpool(self._request_stop, *asked)
        return PlainTextResponse(f"Not stopped: {problem}.\n", 409) if problem else JSONResponse({}, 202)

    def _request_stop(self, name: str, after: str) -> str:
        view = self._find(name)
        if not isinstance(view, RunView):
            return "there is no such run here that could be stopped"
        if not view.read()["can_stop"]:
            return "no process works on it"
        try:
            request_stop(view.folder, after)
        except OSError as error:
            return f"its folder can't be written ({error.strerror})"
        return ""


async def _asked(request: Request) -> tuple[str, str] | None:
    """Return the run and when it is to stop; None if the request can't be read."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return None
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("run"), str) or found.get("after") not in (STEP, EPOCH):
        return None
    return found["run"], found["after"]


class Guard:
    """Lets nobody in who may not look, and gives every answer the headers that keep foreign pages out.

    Parameters
    ----------
    app
        What it guards.
    access
        The rules.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        answer = self._refusal(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await (answer or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Callable[[Scope, Receive, Send], Awaitable[None]] | None:
        headers = Headers(scope=scope)
        if not self._access.knows_host(headers.get("host", "")):
            return PlainTextResponse("This page is not at that address.\n", 421)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if "token" in query and scope["method"] == "GET":
            return self._entered(scope["path"], query["token"])
        if not self._access.may_look(headers.get("cookie", "")):
            return PlainTextResponse(NO_TOKEN, 401)
        return None

    def _entered(self, path: str, token: str) -> Response:
        """Keep the token in a cookie, and lead on to the address without it."""
        if not self._access.is_token(token):
            return PlainTextResponse(NO_TOKEN, 401)
        answer = RedirectResponse(quote("/" + path.lstrip("/")), 303)
        answer.set_cookie(self._access.cookie, token, httponly=True, samesite="lax", path="/")
        return answer


def make_app(view: View, access: Access, ending: Callable[[], bool] = lambda: False) -> ASGIApp:
    """Return the application that shows a view."""
    return Pages(view, access, ending).app()

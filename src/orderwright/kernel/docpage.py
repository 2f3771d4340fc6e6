"""`/docs`: the page on which people read and try an OpenAPI document (Swagger UI).

Invariant: the page asks its own host for everything, and its Content-Security-Policy lets it ask nobody else. The files
of Swagger UI come with the package fastapi-swagger, of which nothing but these files is used.
"""

from html import escape
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.responses import Response

PAGE = "/docs"
FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
"""What of Swagger UI is served below the page, and as what."""

START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  validatorUrl: null,
});
"""
"""Without a validator's address Swagger UI would show the document to a service of its makers."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#1b5e4b"/>'
    '<path d="M3.5 5h9v8h-9zM5.5 5a2.5 2.5 0 0 1 5 0" fill="none" stroke="#fff" stroke-width="1.5"/></svg>'
)
KEPT = {"Cache-Control": "public, max-age=3600"}


def add_doc_page(app: FastAPI, title: str) -> None:
    """Serve the page, and what it needs, for the document at `openapi.json` beside it."""
    page = _page(title)

    async def docs() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})

    async def start() -> Response:
        return Response(START, media_type="text/javascript", headers=KEPT)

    async def icon() -> Response:
        return Response(ICON, media_type="image/svg+xml", headers=KEPT)

    app.add_api_route(PAGE, docs, include_in_schema=False)
    app.add_api_route(f"{PAGE}/start.js", start, include_in_schema=False)
    # Browsers ask for it by themselves, also for pages that are no HTML and cannot name another one.
    app.add_api_route("/favicon.ico", icon, include_in_schema=False)
    for name, media_type in FILES.items():
        _add_file(app, name, media_type)


def _add_file(app: FastAPI, name: str, media_type: str) -> None:
    """Read anew each time: it is seldom asked for, and nine services in a process would each hold two megabytes."""

    def serve() -> Response:
        body = (files("fastapi_swagger") / "resources" / name).read_bytes()
        return Response(body, media_type=media_type, headers=KEPT)

    app.add_api_route(f"{PAGE}/{name}", serve, include_in_schema=False)


def _page(title: str) -> str:
    """The addresses are relative, so that the page works behind a proxy's prefix too."""
    folder = PAGE.rpartition("/")[2]
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" type="image/svg+xml" href="favicon.ico">
<link rel="stylesheet" href="{folder}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="{folder}/swagger-ui-bundle.js"></script>
<script src="{folder}/start.js"></script>
</body>
</html>
"""

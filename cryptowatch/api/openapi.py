"""The OpenAPI 3.1 document and its page, generated from the table of routes and the handlers' own types.

Called once by `app`. A call cannot be served without being documented: both come from the same entry.
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cryptowatch import __version__
from cryptowatch.api import idempotency
from cryptowatch.api.calls import Live, Route
from cryptowatch.api.health import HealthView
from cryptowatch.api.pipeline import REQUEST_ID_HEADER
from cryptowatch.api.problems import CODES, CONTENT_TYPE, ProblemView

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
#: What every call can answer beside its own codes.
_SHARED = (
    "invalid_request",
    "unauthorized",
    "forbidden",
    "rate_limited",
    "internal_error",
    "overloaded",
    "database_unavailable",
    "request_timeout",
)
_WITH_BODY = ("invalid_json", "timeout", "body_too_large", "unsupported_media_type")
_IDEMPOTENT = ("idempotency_key_missing", "invalid_idempotency_key", "in_progress", "idempotency_key_reused")


def codes_of(route: Route) -> Sequence[str]:
    """Every problem that a call can answer."""
    found = [*_SHARED, *route.codes]
    if "{" in route.path:
        found.append("not_found")
    if route.body is not None:
        found += _WITH_BODY
    if route.idempotent:
        found += _IDEMPOTENT
    return found


def openapi_document(routes: Sequence[Route]) -> Json:
    types: set[type] = {ProblemView, HealthView}
    for route in routes:
        types |= {wanted for wanted in (route.body, route.query) if wanted is not None}
    answers = [route.answer for route in routes if route.answer is not None]
    wanted = [*sorted(types, key=lambda kind: kind.__name__), *answers]
    found, components = msgspec.json.schema_components(wanted, ref_template=_REF)
    schemas = {str(kind): schema for kind, schema in zip(wanted, found, strict=True)}
    paths: dict[str, Json] = {}
    for route in routes:
        operation = _operation(route, schemas, components)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    for path in ("/health/live", "/health/ready"):
        paths[path] = {"get": _health(path)}
    for name in {route.query.__name__ for route in routes}:
        components.pop(name, None)
    return {
        "openapi": "3.1.0",
        "info": {"title": "cryptowatch", "version": __version__, "description": _INTRODUCTION},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "cwk_…"}},
        },
    }


_INTRODUCTION = (
    "Amounts are decimal strings in whole units of the asset. Times are RFC 3339 in UTC. Ids are opaque. "
    "Every answer carries a request id. A call that moves money takes an Idempotency-Key: as at Stripe, "
    "what it was finally answered, success or refusal, is kept and given again; what stopped it before it "
    "began is not."
)


def _operation(route: Route, schemas: Mapping[str, Json], components: Mapping[str, Json]) -> Json:
    operation: Json = {
        "operationId": route.operation,
        "summary": route.summary,
        "description": f"Scope: `{route.scope}`.",
        "tags": [route.path.split("/")[2]],
        "parameters": [*_path_parameters(route), *_query_parameters(route, components)],
        "responses": _responses(route, schemas),
    }
    for name, meaning in route.header_parameters.items():
        operation["parameters"].append(
            {
                "name": name,
                "in": "header",
                "description": meaning,
                "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
            }
        )
    if route.idempotent:
        operation["parameters"].append(_IDEMPOTENCY_PARAMETER)
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[str(route.body)]}},
        }
    return operation


_IDEMPOTENCY_PARAMETER: Json = {
    "name": idempotency.HEADER,
    "in": "header",
    "required": True,
    "description": "Unique for each new request; the same for each repetition of it.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": idempotency.KEY_LENGTH_MAX,
        "pattern": "^[!-~]+$",
    },
}


def _path_parameters(route: Route) -> list[Json]:
    names = re.findall(r"{(\w+)}", route.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(route: Route, components: Mapping[str, Json]) -> list[Json]:
    schema = components[route.query.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _never_null(part)}
        for name, part in schema["properties"].items()
    ]


def _never_null(schema: Json) -> Json:
    """A parameter is left out, never null: query strings have no null."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    return (
        options[0] if len(options) == 1 else {key: value for key, value in schema.items() if key != "default"}
    )


def _responses(route: Route, schemas: Mapping[str, Json]) -> Json:
    headers = {REQUEST_ID_HEADER: {"schema": {"type": "string"}}}
    responses: Json = {}
    for status in (route.status, *route.other_statuses):
        success: Json = {"description": "Done", "headers": headers}
        if route.answer is not None:
            success["content"] = {route.media: {"schema": schemas[str(route.answer)]}}
        if isinstance(route.handler, Live):
            success["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
        responses[str(status)] = success
    by_status: dict[int, list[str]] = {}
    for code in codes_of(route):
        by_status.setdefault(CODES[code][0], []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = _problem(codes, headers)
    return responses


def _problem(codes: Sequence[str], headers: Json) -> Json:
    told = "; ".join(f"`{code}`: {CODES[code][1]}" for code in codes)
    content = {CONTENT_TYPE: {"schema": {"$ref": _REF.format(name=ProblemView.__name__)}}}
    return {"description": told, "headers": headers, "content": content}


def _health(path: str) -> Json:
    schema = {"$ref": _REF.format(name=HealthView.__name__)}
    responses: Json = {"200": {"description": "Yes", "content": {"application/json": {"schema": schema}}}}
    if path.endswith("ready"):
        responses["503"] = _problem(["database_unavailable"], {})
    name = path.rpartition("/")[2]
    return {
        "operationId": f"health_{name}",
        "summary": f"Whether the process is {name}",
        "tags": ["health"],
        "security": [],
        "responses": responses,
    }


def docs_page(document: Json) -> str:
    """One self-contained page: every call with its parameters, body, answers and problems.

    No script, no assets.
    """
    parts = [f"<h1>cryptowatch {__version__}</h1><p>{html.escape(_INTRODUCTION)}</p>"]
    parts.append('<p>For programs: <a href="/openapi.json">/openapi.json</a></p>')
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(_docs_of(method, path, operation))
    parts.append("<h2>Objects</h2>")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(f'<h3 id="{html.escape(name)}">{html.escape(name)}</h3>{_pretty(schema)}')
    return _PAGE.format(body="\n".join(parts))


def _docs_of(method: str, path: str, operation: Json) -> str:
    title = (
        f"<h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{html.escape(operation['summary'])}. "
    )
    rows = [
        f"<tr><td>{html.escape(item['name'])}</td><td>{item['in']}</td><td>{_pretty(item['schema'])}</td></tr>"
        for item in operation.get("parameters", [])
    ]
    for media in operation.get("requestBody", {}).get("content", {}).values():
        rows.append(f"<tr><td>body</td><td></td><td>{_pretty(media['schema'])}</td></tr>")
    for status, response in operation["responses"].items():
        shown = "".join(_pretty(media["schema"]) for media in response.get("content", {}).values())
        text = html.escape(response["description"])
        rows.append(f"<tr><td>{status}</td><td></td><td>{text} {shown if status < '3' else ''}</td></tr>")
    return f"{title}{html.escape(operation.get('description', ''))}</p><table>{''.join(rows)}</table>"


def _pretty(schema: Json) -> str:
    text = html.escape(msgspec.json.format(msgspec.json.encode(schema), indent=1).decode())
    text = re.sub(r"&quot;#/components/schemas/([\w\[\]]+)&quot;", r'<a href="#\1">\1</a>', text)
    return f"<pre>{text}</pre>"


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>cryptowatch API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style> :root {{ color-scheme: light dark
}} body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }} pre
{{ margin: 0; white-space: pre-wrap; font-size: 12px }} table {{ border-collapse: collapse; width: 100% }} td
{{ border-top: 1px solid #8884; padding: .3rem .6rem .3rem 0; vertical-align: top }} h2 {{ margin-top: 2.5rem;
font-size: 1.1rem }} </style><body>{body}</body></html>
"""

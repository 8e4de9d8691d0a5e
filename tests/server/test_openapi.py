"""The OpenAPI document: valid, complete, and what the server really does (schemathesis)."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from program import ROOT
from served import QUICK

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"


@pytest.fixture(scope="module")
def document(server):
    return server.get("/openapi.json").json


def test_the_reference_is_what_the_server_says_now(document):
    written = subprocess.run([sys.executable, ROOT / "tools/api_page.py"], input=json.dumps(document), capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs/api.md").read_text() == written, "run: curl -s http://127.0.0.1:8188/openapi.json | tools/api_page.py > docs/api.md"
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"### `{method.upper()} {path}`\n" in written


def test_the_document_names_every_route_and_option(server, document):
    assert document["openapi"] == "3.1.0"
    paths = {(method.upper(), path) for path, of in document["paths"].items() for method in of}
    assert {("POST", "/v1/jobs"), ("DELETE", "/v1/jobs/{id}"), ("POST", "/v1/images/edits"), ("POST", "/sdapi/v1/extra-single-image"), ("GET", "/health")} <= paths
    options = document["components"]["schemas"]["JobOptions"]["properties"]
    form = document["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    for group in server.get("/v1/schema").json["groups"]:
        for field in group["fields"]:
            told = options[group["name"]]["properties"][field["name"]]
            assert told["description"] == field["help"] and told["default"] == field["default"]
            assert field["name"] in form
    for path, of in document["paths"].items():
        for operation in of.values():
            assert operation["summary"] and {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"} == set(re.findall(r"{(\w+)}", path))


def test_a_method_that_a_route_has_not_is_405(server):
    reply = server.ask("PUT", "/v1/jobs", b"{}", {"Content-Type": "application/json"})
    assert reply.status == 405 and set(reply.headers["Allow"].split(", ")) == {"POST", "GET"}


def run_schemathesis(server, tmp_path, examples, *more):
    """Every answer must be one that the document tells of, and no request may be a bug."""
    words = [SCHEMATHESIS, "run", f"{server.url}/openapi.json", "--max-examples", str(examples), "--seed", "1", "--workers", "1", "--request-timeout", "30", "--no-color"]
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method"
    environment = {**os.environ, "NO_PROXY": "*", "no_proxy": "*"}
    done = subprocess.run([*words, "--checks", checks, *more], capture_output=True, text=True, timeout=1200, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="schemathesis is not installed")
def test_quick_reads_conform(server, photo, tmp_path):
    server.finished(server.job(photo, restore=QUICK))
    run_schemathesis(server, tmp_path, 4, "--include-method", "GET", "--phases", "examples,coverage,fuzzing", "--exclude-path", "/v1/jobs/{id}/events")


@pytest.mark.slow
@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="schemathesis is not installed")
def test_everything_conforms(server, photo, tmp_path):
    server.finished(server.job(photo, restore=QUICK))
    run_schemathesis(server, tmp_path, 30)
    assert server.get("/health").status == 200

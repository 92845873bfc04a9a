"""`/openapi.json` is the truth: compared with the code, and with answers of the whole application."""

from __future__ import annotations

import ast
import copy
from pathlib import Path
from typing import Any

import pytest

import fanout.api
from fanout.api import problems
from fanout.api.documentation import examples, schemas
from fanout.api.documentation.openapi import make_document
from fanout.testing import ScriptedCall, answers, crashes, fails, hangs, run_scenario
from fanout.testing.scenario import Replay
from fanout.upstream import errors

DOCUMENT = make_document(calls=2, default_timeout_ms=1000, max_timeout_ms=30_000)
OF_THE_FRAMING = {"connection", "content-length", "content-type"}  # every HTTP answer may have these
SHARED_RESPONSES = {"404": "NotFound", "405": "MethodNotAllowed"}  # of no operation


def resolved(node: Any) -> Any:
    """What a reference in the document stands for; anything else as it is."""
    while "$ref" in node:
        _, _, kind, name = node["$ref"].split("/")
        node = DOCUMENT["components"][kind][name]
    return node


def validator(schema: Any) -> Any:
    from jsonschema import Draft202012Validator  # a second, in each process that collects the tests

    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def is_valid(schema: Any, value: Any) -> bool:
    return bool(validator({**schema, "components": closed(DOCUMENT["components"])}).is_valid(value))


def closed(node: Any) -> Any:
    """A copy in which no problem and no call may have a member that is not documented."""
    node = copy.deepcopy(node)
    for name, schema in node["schemas"].items():
        schema["additionalProperties"] = name == "Payload"
    return node


def response_of(replay: Replay, path: str, method: str) -> Any:
    """What the document says of this answer. A `KeyError` is an answer that it does not have."""
    if replay.status in (404, 405):
        return DOCUMENT["components"]["responses"][SHARED_RESPONSES[str(replay.status)]]
    return resolved(DOCUMENT["paths"][path][method.lower()]["responses"][str(replay.status)])


TELL_ALL = (b"x-fanout-receipt", b"1")
REFUSED = [crashes(0), crashes(0)]  # calls of a request that gets no answer from them
EVERY_ANSWER: dict[str, tuple[str, list[ScriptedCall], dict[str, Any]]] = {
    "first": ("/api/first", [answers(10), hangs()], {}),
    "first after a failure": ("/api/first", [fails(5), answers(10)], {}),
    "first with a receipt": ("/api/first", [answers(10), hangs()], {"headers": [TELL_ALL]}),
    "all": ("/api/all", [answers(10), answers(20)], {}),
    "all but one": ("/api/all", [fails(10, "broken"), answers(20)], {}),
    "head": ("/api/first", [answers(10), hangs()], {"method": "HEAD"}),
    "options": ("/api/all", REFUSED, {"method": "OPTIONS"}),
    "no success": ("/api/first", [fails(10, status=404), fails(20, "unreachable")], {}),
    "deadline of first": ("/api/first", [fails(10, "too_large", 200), hangs()], {}),
    "deadline of all": ("/api/all", [answers(10), hangs()], {}),
    "no time at all": ("/api/all?timeout=1", REFUSED, {"reserve_ms": 20}),
    "a bug": ("/api/first", [crashes(10), hangs()], {}),
    "no success with a receipt": ("/api/all", [fails(5), fails(9, status=404)], {"headers": [TELL_ALL]}),
    "deadline with a receipt": ("/api/first", [fails(5, "broken"), hangs()], {"headers": [TELL_ALL]}),
    "a bug with a receipt": ("/api/first", [crashes(10), hangs()], {"headers": [TELL_ALL]}),
    "no time with a receipt": (
        "/api/all?timeout=1",
        [hangs(), hangs()],
        {"reserve_ms": 20, "headers": [TELL_ALL]},
    ),
    "a bug and a success": ("/api/all", [answers(5), crashes(10)], {}),
    "head of an error": ("/api/all", [fails(10), hangs()], {"method": "HEAD"}),
    "wrong timeout": ("/api/first?timeout=soon", REFUSED, {}),
    "wrong timeout of head": ("/api/all?timeout=0", REFUSED, {"method": "HEAD"}),
    "a body": ("/api/first", REFUSED, {"headers": [(b"content-length", b"1")]}),
    "a body of options": ("/api/all", REFUSED, {"headers": [(b"content-length", b"1")], "method": "OPTIONS"}),
    "overloaded": ("/api/all", REFUSED, {"max_in_flight": 0}),
    "overloaded options": ("/api/all", REFUSED, {"max_in_flight": 0, "method": "OPTIONS"}),
    "an unknown path": ("/api/frist", REFUSED, {}),
    "an unknown method": ("/api/first", REFUSED, {"method": "POST"}),
}


@pytest.mark.parametrize(("target", "calls", "options"), EVERY_ANSWER.values(), ids=EVERY_ANSWER)
def test_every_answer_is_in_the_document(
    target: str, calls: list[ScriptedCall], options: dict[str, Any]
) -> None:
    """Its status, all its headers with their values, its content type, and every member of its content."""
    replay = run_scenario(target, calls, **options)
    response = response_of(replay, target.partition("?")[0], options.get("method", "GET"))

    documented = {name.lower(): resolved(header) for name, header in response["headers"].items()}
    sent = {name: value for name, value in replay.headers.items() if name not in OF_THE_FRAMING}
    assert set(sent) <= set(documented)
    assert {name for name, header in documented.items() if header.get("required")} <= set(sent)
    for name, value in sent.items():
        schema = documented[name]["schema"]
        assert is_valid(schema, int(value) if schema.get("type") == "integer" else value), (name, value)

    if replay.body or "content" in response:
        schema = response["content"][replay.headers["content-type"]]["schema"]
        assert is_valid(schema, replay.json), replay.json


def test_the_document_is_what_is_served() -> None:
    """Its numbers are those of the settings, not the defaults."""
    calls = [answers(1), answers(1), answers(1)]
    replay = run_scenario("/openapi.json", calls, default_timeout_ms=700, max_timeout_ms=8000)

    assert replay.json == make_document(calls=3, default_timeout_ms=700, max_timeout_ms=8000)
    timeout = replay.json["components"]["parameters"]["timeout"]["schema"]
    assert timeout == {"type": "integer", "minimum": 1, "maximum": 8000, "default": 700}
    assert replay.json["components"]["schemas"]["NoAnswer"]["properties"]["calls"]["maxItems"] == 3


@pytest.mark.parametrize("value", [-1, 0, 1, 2, 7999, 8000, 8001, 1.5, "", "soon", True, None, [], 10**30])
def test_exactly_the_timeouts_that_the_document_allows_are_accepted(value: Any) -> None:
    schema = make_document(2, 700, 8000)["components"]["parameters"]["timeout"]["schema"]

    replay = run_scenario(f"/api/first?timeout={value}", [answers(0)], max_timeout_ms=8000)

    assert (replay.status == 200) == validator(schema).is_valid(value)


def test_the_documented_default_is_in_force() -> None:
    replay = run_scenario("/api/first", [hangs()], default_timeout_ms=700)
    assert replay.json["timeout_ms"] == 700


def problems_in_the_code() -> set[tuple[int, str]]:
    """Status and reason of every problem that is spelled out anywhere in `fanout/api`."""
    found = set()
    for path in Path(fanout.api.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    ast.Name("Problem"),
                    [ast.Constant(int(status)), ast.Constant(str(reason)), *_],
                ):
                    found.add((status, reason))
    return found


def test_every_problem_in_the_code_is_in_the_document_and_no_other() -> None:
    """Both as a schema and as an example, whose `type` is made of its reason."""
    responses = DOCUMENT["components"]["responses"].values()
    media = [response["content"][problems.CONTENT_TYPE] for response in responses]
    possible = set()
    for ref in [ref for m in media for ref in m["schema"].get("oneOf", [m["schema"]])]:
        members = resolved(ref)["properties"]
        possible |= {(members["status"]["const"], reason) for reason in members["reason"]["enum"]}
        assert members["type"]["enum"] == [f"urn:fanout:problem:{r}" for r in members["reason"]["enum"]]
    shown = {(e["value"]["status"], e["value"]["reason"]) for m in media for e in m["examples"].values()}

    assert possible == shown == problems_in_the_code()
    assert len(possible) >= 9


def test_every_error_word_is_in_the_document_and_no_other() -> None:
    assert set(schemas.ERROR_WORDS) == {*errors.WORDS, "deadline", "internal"}


def all_schemas_with_values() -> list[tuple[Any, Any]]:
    """Every schema of the document that has examples, with each of them."""
    paths, components = DOCUMENT["paths"].values(), DOCUMENT["components"]
    responses = [*components["responses"].values(), *(path["get"]["responses"]["200"] for path in paths)]
    media = [media for response in responses for media in response["content"].values()]
    found = [(m["schema"], example["value"]) for m in media for example in m["examples"].values()]
    with_example = [*components["headers"].values(), *components["parameters"].values()]
    return found + [(p["schema"], p["example"]) for p in with_example if "example" in p]


def test_every_example_is_what_its_schema_says() -> None:
    found = all_schemas_with_values()
    assert len(found) >= 16
    for schema, value in found:
        assert is_valid(schema, value), value


@pytest.mark.parametrize("calls", [2, 3])
def test_the_examples_of_races_are_real_answers(calls: int) -> None:
    """These races, in virtual time, give these answers to the last member."""
    others = calls - 1
    shown = {reason: example["value"] for reason, example in examples.for_500(calls).items()}
    for reason, script in {
        "deadline": [fails(118, errors.BAD_STATUS, 503), *(hangs() for _ in range(others))],
        "no_success": [
            fails(3, errors.UNREACHABLE),
            *(fails(412.5, errors.BAD_PAYLOAD, 200) for _ in range(others)),
        ],
    }.items():
        headers = [(b"x-request-id", examples.REQUEST_ID.encode())]
        replay = run_scenario("/api/first?timeout=1000", script, reserve_ms=20, headers=headers)
        assert replay.json == shown[reason]


def test_the_example_of_allow_is_a_real_one() -> None:
    replay = run_scenario("/api/first", [], method="POST")
    assert replay.headers["allow"] == examples.METHODS


def test_the_document_is_valid_openapi() -> None:
    """By the published schema of OpenAPI 3.1, and every schema in it by that of JSON Schema."""
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR  # slow, too

    OPENAPI_31_VALIDATOR.validate(DOCUMENT)
    for schema in DOCUMENT["components"]["schemas"].values():
        validator(schema)


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    """But for the two responses that belong to no operation."""
    used = set()

    def visit(node: Any) -> None:
        if isinstance(node, dict) and "$ref" in node:
            resolved(node)
            used.add(node["$ref"])
        for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            visit(part)

    visit(DOCUMENT)
    components = DOCUMENT["components"].items()
    named = {f"#/components/{kind}/{name}" for kind, parts in components for name in parts}
    assert named - used == {f"#/components/responses/{name}" for name in SHARED_RESPONSES.values()}

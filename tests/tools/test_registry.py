from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from pydantic import BaseModel, Field

from ml_intern.errors import ToolError
from ml_intern.tools.base import Arguments, Tool, ToolContext, ToolResult
from ml_intern.tools.output import LIMIT_CHARS
from ml_intern.tools.registry import ToolRouter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SNAPSHOT = Path(__file__).parent / "schemas.json"


class Inner(BaseModel):
    name: str
    size: int = 1


class Probe(Arguments):
    """A tool of the tests."""

    count: int = 0
    flag: bool = False
    title: str = ""
    mode: Literal["a", "b"] = "a"
    ratio: float | None = None
    tags: list[str] = Field(default_factory=list)
    extra: dict[str, Any] = Field(default_factory=dict)
    inner: Inner | None = None


def probe(run: Callable[[Probe, ToolContext], Awaitable[Any]] | None = None, **options: Any) -> ToolRouter:
    async def nothing(arguments: Probe, context: ToolContext) -> str:
        return "done"

    return ToolRouter([Tool("probe", Probe, run or nothing, **options)])


async def outcome(
    run: Callable[[Probe, ToolContext], Awaitable[Any]], context: ToolContext, **options: Any
) -> ToolResult:
    router = probe(run, **options)
    return await router.run(router.parse("probe", ""), context)


def test_the_schemas_are_what_models_have_been_shown(router: ToolRouter) -> None:
    shown = json.dumps(router.schemas(), indent=1, ensure_ascii=False) + "\n"
    assert shown == SNAPSHOT.read_text(encoding="utf-8"), f"if the change is meant, renew {SNAPSHOT.name}"


def test_schemas_are_plain_objects_that_every_provider_takes(router: ToolRouter) -> None:
    text = json.dumps([*router.schemas(), *probe().schemas()])
    assert '"$ref"' not in text
    assert '"$defs"' not in text
    assert '"null"' not in text
    assert all(schema["function"]["description"] for schema in router.schemas())


def test_an_argument_may_be_called_title(router: ToolRouter) -> None:
    assert "title" in probe().schemas()[0]["function"]["parameters"]["properties"]


def test_changing_the_schemas_one_got_changes_nobody_elses(router: ToolRouter) -> None:
    before = json.dumps(router.schemas())
    router.schemas()[0]["function"]["name"] = "changed"
    assert json.dumps(router.schemas()) == before


def test_two_tools_of_one_name_are_a_bug(router: ToolRouter) -> None:
    tool = router.get("bash")
    assert tool is not None
    with pytest.raises(ValueError, match="bash"):
        ToolRouter([tool, tool])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", {}),
        ("  \n", {}),
        ("null", {}),
        ("{}", {}),
        ('{"count": "5"}', {"count": 5}),
        ('{"count": 5.0}', {"count": 5}),
        ('{"flag": "true"}', {"flag": True}),
        ('{"flag": "false"}', {"flag": False}),
        ('{"title": 7}', {"title": "7"}),
        ('{"ratio": "0.5"}', {"ratio": 0.5}),
        ('{"tags": "[\\"a\\", \\"b\\"]"}', {"tags": ["a", "b"]}),
        ('{"extra": "{\\"k\\": 1}"}', {"extra": {"k": 1}}),
        ('{"inner": "{\\"name\\": \\"n\\", \\"size\\": \\"3\\"}"}', {"inner": {"name": "n", "size": 3}}),
        ('{"inner": {"name": "n", "size": null}}', {"inner": {"name": "n", "size": 1}}),
        ('{"count": null, "tags": null}', {}),
        ('{"title": "two\nlines"}', {"title": "two\nlines"}),
        ('"{\\"count\\": 3}"', {"count": 3}),
    ],
)
def test_usual_slips_in_arguments_are_put_right(raw: str, expected: dict[str, Any]) -> None:
    defaults = json.loads(Probe().model_dump_json())
    assert probe().parse("probe", raw).canonical == {**defaults, **expected}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('{"cuont": 1}', "unknown argument 'cuont' (did you mean 'count'?)"),
        ('{"zzz": 1}', "Allowed arguments: count, flag, title"),
        ('{"count": "many"}', "'count': Input should be a valid integer"),
        ('{"mode": "c"}', "'a' or 'b', got \"c\""),
        ('{"inner": {}}', "missing argument 'inner.name'"),
        ('{"tags": "a, b"}', "'tags': Input should be a valid list"),
        ('{"tags": "\\"x\\""}', "'tags': Input should be a valid list"),
        ("[1, 2]", "must be one JSON object, not an array"),
        ("5", "must be one JSON object, not a number"),
        ("true", "must be one JSON object, not a boolean"),
        ('"text"', "must be one JSON object, not a string"),
        ('{"count": 1', "not valid JSON"),
        ('{"ratio": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"title": "\\ud800"}', "not valid Unicode"),
    ],
)
def test_wrong_arguments_are_told_in_one_clear_line(raw: str, text: str) -> None:
    with pytest.raises(ToolError) as caught:
        probe().parse("probe", raw)
    assert text in str(caught.value)
    assert str(caught.value).startswith("probe: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000


def test_an_unknown_tool_is_told_with_the_nearest_names(router: ToolRouter) -> None:
    with pytest.raises(ToolError, match=r"no tool 'Bashh'. Did you mean 'bash'\? There are: bash, read"):
        router.parse("Bashh", "{}")


def test_equal_calls_have_equal_digests_and_others_do_not() -> None:
    router = probe()
    one = router.parse("probe", '{"count": "5", "title": "x"}')
    same = router.parse("probe", '{"title": "x", "count": 5, "flag": false}')
    other = router.parse("probe", '{"count": 6, "title": "x"}')
    assert one.digest == same.digest != other.digest
    assert len(one.digest) == 64


def test_the_effect_is_that_of_the_very_call(router: ToolRouter) -> None:
    assert router.effect(router.parse("bash", '{"command": "ls"}')) == "read"
    assert router.effect(router.parse("bash", '{"command": "touch x"}')) == "once"
    assert router.effect(router.parse("write", '{"path": "x", "content": ""}')) == "idempotent"


def test_a_classifier_with_a_bug_counts_as_once() -> None:
    def broken(arguments: Probe) -> Literal["read"]:
        raise ZeroDivisionError

    router = probe(effect=broken)
    assert router.effect(router.parse("probe", "")) == "once"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ToolError("give another path"), "give another path"),
        (ZeroDivisionError("by zero"), "probe failed: ZeroDivisionError: by zero"),
        (ValueError("two\nlines"), "probe failed: ValueError: two lines"),
        (SystemExit(3), "probe failed: SystemExit: 3"),
        (MemoryError(), "probe failed: MemoryError:"),
        (
            ExceptionGroup("several", [ValueError("x")]),
            "probe failed: ExceptionGroup: several (1 sub-exception)",
        ),
        (asyncio.CancelledError(), "probe failed: it was cancelled from inside"),
        (ValueError("x" * 100_000), "probe failed: ValueError: xxx"),
        (ValueError("\udcff"), "probe failed: ValueError: \ufffd"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_tool_that_raises_gives_an_error_result(
    context: ToolContext, error: BaseException, text: str
) -> None:
    async def fail(arguments: Probe, context: ToolContext) -> str:
        raise error

    result = await outcome(fail, context)
    assert not result.ok
    assert isinstance(result.content, str)
    assert result.content.startswith(text)
    assert "\n" not in result.content
    assert len(result.content) < 2_500


async def test_siblings_of_a_raising_tool_go_on(context: ToolContext) -> None:
    async def odd(arguments: Probe, context: ToolContext) -> str:
        await asyncio.sleep(0)
        if arguments.count % 2:
            raise RuntimeError("odd")
        return f"fine {arguments.count}"

    router = probe(odd)
    calls = [router.parse("probe", json.dumps({"count": number})) for number in range(4)]
    results = await asyncio.gather(*(router.run(parsed, context) for parsed in calls))
    assert [result.ok for result in results] == [True, False, True, False]
    assert results[2].content == "fine 2"


@pytest.mark.parametrize("value", [None, 5, b"bytes", {"a": 1}])
async def test_a_handler_that_returns_something_else_is_told(context: ToolContext, value: Any) -> None:
    async def odd(arguments: Probe, context: ToolContext) -> Any:
        return value

    result = await outcome(odd, context)
    assert not result.ok
    assert f"it returned {type(value).__name__}" in str(result.content)


async def test_a_call_that_takes_too_long_is_stopped(context: ToolContext) -> None:
    stopped = asyncio.Event()

    async def hang(arguments: Probe, context: ToolContext) -> str:
        try:
            await asyncio.Event().wait()
            return ""
        finally:
            stopped.set()

    result = await outcome(hang, context, timeout_s=0.05)
    assert stopped.is_set()
    assert not result.ok
    assert result.content == "probe timed out after 0.05 s and was stopped."
    assert result.details["timed_out"]


async def test_a_call_that_kept_its_output_gives_it_after_a_time_out(context: ToolContext) -> None:
    async def hang(arguments: Probe, context: ToolContext) -> ToolResult:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return ToolResult("half of it", details={"seen": 1})
        return ToolResult("all")

    result = await outcome(hang, context, timeout_s=0.05)
    assert "Output so far:\nhalf of it" in str(result.content)
    assert result.details["seen"] == 1
    assert not result.ok


async def test_a_cancelled_call_has_tidied_up_when_the_caller_goes_on(context: ToolContext) -> None:
    started, tidied = asyncio.Event(), []

    async def hang(arguments: Probe, context: ToolContext) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            tidied.append(True)
        return ""

    task = asyncio.ensure_future(outcome(hang, context))
    await started.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # people press Ctrl-C twice
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tidied == [True]


async def test_a_flood_is_cut_and_kept_in_a_file_that_read_can_page(
    context: ToolContext, router: ToolRouter
) -> None:
    async def flood(arguments: Probe, context: ToolContext) -> str:
        return "".join(f"line {number}\n" for number in range(50_000))

    result = await outcome(flood, context)
    assert isinstance(result.content, str)
    assert len(result.content) < LIMIT_CHARS + 1_000
    assert "line 49999" in result.content
    page = await router.run(
        router.parse("read", json.dumps({"path": result.details["spill"], "offset": 25_001, "limit": 1})),
        context,
    )
    assert "line 25000" in str(page.content)


async def test_text_parts_are_cut_and_image_parts_pass(context: ToolContext) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}

    async def parts(arguments: Probe, context: ToolContext) -> ToolResult:
        return ToolResult([{"type": "text", "text": "x" * 100_000}, image, {"type": "text", "text": "\x00"}])

    result = await outcome(parts, context)
    assert isinstance(result.content, list)
    assert len(result.content[0]["text"]) < LIMIT_CHARS + 1_000
    assert result.content[1] == image
    assert result.content[2]["text"] == "\ufffd"


async def test_details_are_json_whatever_a_tool_put_in(context: ToolContext) -> None:
    async def odd(arguments: Probe, context: ToolContext) -> ToolResult:
        return ToolResult(
            "", details={"path": Path("/x"), "n": float("nan"), "\udcff": ("\x00", None, True, 1.5)}
        )

    details = (await outcome(odd, context)).details
    assert json.loads(json.dumps(details, allow_nan=False)) == details
    assert details["\ufffd"] == ["\ufffd", None, True, 1.5]
    assert details["duration_s"] >= 0


async def test_the_router_loads_nothing_heavy() -> None:
    heavy = {"litellm", "huggingface_hub", "langgraph", "sqlalchemy", "rich", "prompt_toolkit", "httpx"}
    code = (
        "import sys; from ml_intern.tools.registry import ToolRouter, default_tools; "
        f"ToolRouter(default_tools()); print(*{heavy} & set(sys.modules))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0
    assert printed.strip() == b""

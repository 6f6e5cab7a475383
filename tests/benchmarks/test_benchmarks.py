from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from ml_intern.benchmarks import __main__ as benchmarks
from ml_intern.benchmarks.bench import Bench, tool_step
from ml_intern.benchmarks.child import RunFailed, environment, python, run
from ml_intern.benchmarks.figure import figure, row

if TYPE_CHECKING:
    from pathlib import Path

STAND_IN = """#!{python}
import json, os, socket, sys, urllib.request
from urllib.parse import urlsplit

hub = urlsplit(os.environ.get("HF_ENDPOINT", os.environ["OPENAI_BASE_URL"]))
with socket.create_connection((hub.hostname, hub.port)) as sock:
    sock.settimeout({patience_s})
    sock.sendall(b"GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n")
    try:
        sock.recv(1)
    except TimeoutError:
        pass
messages, text = [{{"role": "user", "content": "hi"}}], None
while text is None:
    body = json.dumps({{"model": "bench", "messages": messages}}).encode()
    with urllib.request.urlopen(os.environ["OPENAI_BASE_URL"] + "/chat/completions", data=body) as answer:
        message = json.load(answer)["choices"][0]["message"]
    text = message["content"]
    calls = message.get("tool_calls", [])
    messages.append(message)
    messages += [{{"role": "tool", "tool_call_id": call["id"], "content": "ok"}} for call in calls]
print(json.dumps({{"thread_id": "t", "final_response": text}}))
"""


def stand_in(folder: Path, patience_s: float = 0.0) -> Path:
    """A program with the product's headless contract, which waits for a silent hub for so long."""
    program = folder / "program"
    program.write_text(STAND_IN.format(python=sys.executable, patience_s=patience_s or 0.001))
    program.chmod(0o755)
    return program


def test_a_figure_is_held_against_its_floor_times_and_plus() -> None:
    assert figure("f", "s", [1.0, 1.2, 9.0], [1.0, 1.0, 1.0], times=1.2).ok
    assert not figure("f", "s", [1.21], [1.0], times=1.2).ok
    assert figure("f", "s", [0.2], plus=0.2).ok
    assert "1.20x" in row(figure("f", "s", [1.2], [1.0], times=1.0))
    assert row(figure("f", "s", [1.2], [1.0], times=1.0)).endswith("NO")


def test_a_program_that_waits_for_a_silent_host_misses_its_limit(tmp_path: Path) -> None:
    slow = Bench(tmp_path / "slow", "openai/bench", quick=True, program=stand_in(tmp_path, patience_s=1.0))
    [result] = benchmarks.GROUPS["black-hole"](slow)
    assert result.ours is not None
    assert result.ours > 1.0
    assert not result.ok


def test_a_long_run_is_measured_between_the_answers_of_the_model(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "b", "openai/bench", quick=True, program=stand_in(tmp_path))
    long = bench.ours_long([tool_step("true 1"), tool_step("true 2"), {"text": "done"}])
    assert len(long.gaps) == 2
    assert all(gap > 0 for gap in long.gaps)
    assert json.loads(long.run.stdout)["final_response"] == "done"


def test_a_group_that_fails_is_a_failed_figure_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "figures.json"
    words = ["showing", "black-hole", "--quick", "--program", str(tmp_path / "missing"), "--json", str(found)]
    assert benchmarks.main(words) == 1
    figures = json.loads(found.read_text())
    assert [figure["name"] for figure in figures] == ["showing", "black-hole"]
    assert all("No such file" in figure["failure"] for figure in figures)
    assert capsys.readouterr().out.count("failed:") == 2


def test_an_unknown_group_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmarks.main(["nonsense"])
    assert ended.value.code == 2
    assert "no group nonsense" in capsys.readouterr().err


def test_a_run_tells_its_memory_and_how_long_it_stayed_after_its_last_output(tmp_path: Path) -> None:
    code = "import time; block = b'x' * 80_000_000; print('said', flush=True); time.sleep(0.4)"
    done = run(python(code), environment(tmp_path), tmp_path)
    assert done.stdout == b"said\n"
    assert done.peak_bytes > 80_000_000
    assert 0.4 <= done.leaving_s <= done.wall_s


def test_a_run_that_does_not_end_is_killed_and_named(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"ran longer than 0\.2 s"):
        run(python("import time; time.sleep(60)"), environment(tmp_path), tmp_path, timeout_s=0.2)

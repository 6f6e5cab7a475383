from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_intern.errors import UsageError
from ml_intern.gateways.argv import FLAGS, VALUE_OPTIONS, rewrite

COMMANDS = frozenset({"threads", "history", "config", "fork", "tools"})


def read(*argv: str) -> list[str]:
    return rewrite(list(argv), COMMANDS)


@pytest.mark.parametrize(
    ("argv", "rewritten"),
    [
        # no prompt
        ([], ["run"]),
        (["--"], ["run"]),
        (["--quiet"], ["run", "--quiet"]),
        # the prompt
        (["do it"], ["run", "--", "do it"]),
        (["-"], ["run", "--", "-"]),
        (["--", "-"], ["run", "--", "-"]),
        (["--", "-x"], ["run", "--", "-x"]),
        (["--", "threads"], ["run", "--", "threads"]),
        (["run"], ["run", "--", "run"]),
        (["Threads"], ["run", "--", "Threads"]),
        (["thread"], ["run", "--", "thread"]),
        (["threads and more"], ["run", "--", "threads and more"]),
        # commands
        (["threads"], ["threads"]),
        (["threads", "list", "-o", "json"], ["threads", "list", "-o", "json"]),
        (["threads", "--bogus", "x", "y"], ["threads", "--bogus", "x", "y"]),
        (["-m", "a/b", "threads"], ["threads", "--model=a/b"]),
        (["--cwd", "/d", "fork", "ID", "--at", "3"], ["fork", "ID", "--at", "3", "--cwd=/d"]),
        (["--config=f", "tools", "show", "--", "-x"], ["tools", "show", "--config=f", "--", "-x"]),
        (["--help", "threads"], ["threads", "--help"]),
        # options before and after the prompt
        (["-m", "a/b", "do it"], ["run", "--model=a/b", "--", "do it"]),
        (["do it", "-m", "a/b"], ["run", "--model=a/b", "--", "do it"]),
        (["do it", "threads"], None),
        (["--model=a/b", "--", "do it"], ["run", "--model=a/b", "--", "do it"]),
        (["--model", "a/b"], ["run", "--model=a/b"]),
        (["--model=a=b"], ["run", "--model=a=b"]),
        (["-ma/b"], ["run", "--model=a/b"]),
        (["-m=a/b"], ["run", "--model=a/b"]),
        (["-m", "threads", "x"], ["run", "--model=threads", "--", "x"]),
        (["--max-iterations", "-1", "x"], ["run", "--max-iterations=-1", "--", "x"]),
        (["-t", "-", "x"], ["run", "--thread=-", "--", "x"]),
        (["-c", "x", "--no-stream"], ["run", "--continue", "--no-stream", "--", "x"]),
        (["-cmX", "x"], ["run", "--continue", "--model=X", "--", "x"]),
        (["-cm", "X", "x"], ["run", "--continue", "--model=X", "--", "x"]),
        (["-m", "a", "-m", "b"], ["run", "--model=a", "--model=b"]),
        (
            ["-o", "json", "--approve", "ask", "--input", "text", "--max-cost", "2.5", "-"],
            ["run", "--output=json", "--approve=ask", "--input=text", "--max-cost=2.5", "--", "-"],
        ),
        # resume
        (["-r"], ["run", "--resume="]),
        (["--resume"], ["run", "--resume="]),
        (["-r", "ID"], ["run", "--resume=ID"]),
        (["-rID"], ["run", "--resume=ID"]),
        (["--resume=ID"], ["run", "--resume=ID"]),
        (["--resume", "ID"], ["run", "--resume=ID"]),
        (["--resume="], ["run", "--resume="]),
        (["-r", "ID", "PROMPT"], ["run", "--resume=ID", "--", "PROMPT"]),
        (["-r", "--", "PROMPT"], ["run", "--resume=", "--", "PROMPT"]),
        (["-r", "ID", "--", "PROMPT"], ["run", "--resume=ID", "--", "PROMPT"]),
        (["PROMPT", "-r"], ["run", "--resume=", "--", "PROMPT"]),
        (["PROMPT", "-r", "ID"], ["run", "--resume=ID", "--", "PROMPT"]),
        (["-r", "--quiet", "PROMPT"], ["run", "--resume=", "--quiet", "--", "PROMPT"]),
        (["-r", "-m", "a/b"], ["run", "--resume=", "--model=a/b"]),
        (["-r", "-"], ["run", "--resume=", "--", "-"]),
        (["-r", "threads"], ["run", "--resume=threads"]),
        (["-r", "threads", "threads"], ["threads", "--resume=threads"]),
        # answers that stand alone
        (["--help"], ["--help"]),
        (["--version"], ["--version"]),
        (["x", "--help"], ["--help"]),
        (["-m", "a", "--version"], ["--version"]),
        (["--", "--help"], ["run", "--", "--help"]),
    ],
)
def test_the_grammar(argv: list[str], rewritten: list[str] | None) -> None:
    if rewritten is None:
        with pytest.raises(UsageError):
            read(*argv)
    else:
        assert read(*argv) == rewritten


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["a", "b"], "quote the prompt"),
        (["--", "a", "b"], "quote the prompt"),
        (["a", "--", "b"], "quote the prompt"),
        (["-", "x"], "quote the prompt"),
        (["-r", "ID", "a", "b"], "quote the prompt"),
        ([""], "prompt is empty"),
        (["  \n"], "prompt is empty"),
        (["--", ""], "prompt is empty"),
        (["-r", ""], "prompt is empty"),
        (["--modle", "x"], "did you mean --model?"),
        (["-x"], "No option -x"),
        (["-cx"], "No option -x in -cx"),
        (["--threads"], "did you mean --thread?"),
        (["-m"], "-m needs a value"),
        (["x", "--max-cost"], "--max-cost needs a value"),
        (["-m", "--quiet"], "-m needs a value"),
        (["-m", "--", "x"], "-m needs a value"),
        (["-t", "-r"], "-t needs a value"),
        (["-o", "--model=x"], "-o needs a value"),
        (["--thread="], "--thread needs a value, not an empty one"),
        (["--model", ""], "--model needs a value, not an empty one"),
        (["--quiet=1"], "--quiet takes no value"),
        (["-c", "-r"], "both choose the thread"),
        (["-t", "a", "-r", "b"], "both choose the thread"),
        (["-t", "a", "-c", "x"], "both choose the thread"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_one_line(argv: list[str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        read(*argv)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


words = st.sampled_from(
    [
        *VALUE_OPTIONS,
        *FLAGS,
        "-r",
        "--resume",
        "--resume=x",
        "--model=y",
        "-",
        "--",
        "",
        "threads",
        "word",
        "-1",
        "-q",
    ]
)


@given(st.lists(words, max_size=7))
def test_whatever_is_typed_becomes_one_clear_call_or_wrong_usage(argv: list[str]) -> None:
    given_argv = list(argv)
    try:
        rewritten = rewrite(argv, COMMANDS)
    except UsageError:
        return
    finally:
        assert argv == given_argv
    if rewritten[0] != "run":
        assert rewritten[0] in {*COMMANDS, "--help", "--version"}
        return
    cut = rewritten.index("--") if "--" in rewritten else len(rewritten)
    options, prompt = rewritten[1:cut], rewritten[cut + 1 :]
    assert len(prompt) <= 1
    assert all(option.startswith("--") for option in options)
    assert all(("=" in option) != (option in FLAGS.values()) for option in options)

"""The command line: parse, then hand over. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .errors import MlInternError, UsageError, UserError
from .gateways.argv import rewrite
from .gateways.setup_commands import register

_MISUSE: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What Typer raises for a wrong command line: of click, or of the copy that newer releases bring along."""

app = typer.Typer(
    name="ml-intern",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help"]},
)
threads_app = typer.Typer(
    help="List and look at threads.", rich_markup_mode=None, invoke_without_command=True
)
app.add_typer(threads_app, name="threads")

Output = Annotated[
    Literal["text", "json", "stream-json"], typer.Option("-o", "--output", help="How to print.")
]
TableOutput = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="How to print.")]


def main() -> None:
    """Entry point of `ml-intern`: run the command line, end with its exit code, never with a traceback."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Until a run has handlers of its own these end it as Ctrl-C does, unless they are ignored (nohup).
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    leave(_run_line(sys.argv[1:]))


def _run_line(argv: list[str]) -> int:
    try:
        arguments = rewrite(argv, frozenset(command_names()))
        return int(app(args=arguments, prog_name="ml-intern", standalone_mode=False) or 0)
    except UsageError as error:
        return _misused(str(error))
    except UserError as error:
        return _complain(str(error), error.exit_code)
    except MlInternError as error:
        return _complain(str(error), 1)
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _complain("Interrupted.", 130)
    except BrokenPipeError:
        return 0  # whoever read our output has what they wanted
    except Exception as error:  # noqa: BLE001 - the process boundary: no traceback reaches a person
        if isinstance(error, _MISUSE):
            return _misused(error.format_message().replace(": Value error, ", ": "))
        from .gateways.crash import report

        return _complain(report(error, os.environ), 1)


def _misused(text: str) -> int:
    text = text if text.endswith((".", "?", "!")) else f"{text}."
    hint = "" if "--help" in text else " See `ml-intern --help`."
    return _complain(f"{text}{hint}", UsageError.exit_code)


def command_names() -> list[str]:
    """Names a first word is taken for; `run` is hidden and no name a person can type."""
    commands = [command.name for command in app.registered_commands if not command.hidden]
    return [str(name) for name in (*commands, *(group.name for group in app.registered_groups))]


def leave(code: int) -> None:
    """End the process at once: all is flushed and closed, and litellm would need 0.9 s to tear down."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # its reader is gone, or it was never there
    os._exit(code)


def _complain(text: str, code: int) -> int:
    with contextlib.suppress(OSError):  # nobody may be there to read it
        print(f"Error: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201 - the one line for the person
    return code


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """An autonomous ML engineer in the terminal: writes, runs and measures machine-learning work.

    \b
    ml-intern "fine-tune llama on my dataset"    one prompt, then exit; "-" reads it from stdin
    ml-intern -c "now evaluate it"               go on with the last thread of this directory
    ml-intern -r [ID] [PROMPT]                   finish an interrupted turn, then take the prompt
    \b
    Options of a run:
      -m, --model ID         anthropic/…, openai/…, huggingface/…, ollama/…, vllm/…, lm_studio/…, llamacpp/…
      --max-iterations N     model calls of one turn (300); -1 for no limit
      --no-stream            ask the provider for whole answers
      -t, --thread ID        run in this thread; made when missing
      -c, --continue         the last thread of this directory
      -r, --resume [ID]      go on with a thread
      -o, --output FORMAT    text, json (one object at the end) or stream-json (one event a line)
      --approve MODE         auto, ask or deny what a rule wants asked; deny rules always hold
      --input FORMAT         text, or stream-json: operations, one a line, on stdin
      --max-cost USD         cap for this thread
      --cwd DIR  --config FILE  --quiet  --verbose
    """
    if version:
        from importlib.metadata import version as version_of

        print(f"ml-intern {version_of('ml-intern')}")  # noqa: T201 - the answer
        raise typer.Exit


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no whole number.") from None


def _usd(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no amount in USD.") from None


@app.command("run", hidden=True)
def run_command(  # noqa: PLR0913, PLR0917 - one parameter an option, as Typer has it
    prompt: Annotated[str | None, typer.Argument()] = None,
    model: Annotated[str | None, typer.Option("--model")] = None,
    max_iterations: Annotated[int | None, typer.Option("--max-iterations", parser=_whole)] = None,
    no_stream: Annotated[bool, typer.Option("--no-stream")] = False,
    thread: Annotated[str | None, typer.Option("--thread")] = None,
    continue_last: Annotated[bool, typer.Option("--continue")] = False,
    resume: Annotated[str | None, typer.Option("--resume")] = None,
    output: Output = "text",
    approve: Annotated[Literal["auto", "ask", "deny"] | None, typer.Option("--approve")] = None,
    input_format: Annotated[Literal["text", "stream-json"], typer.Option("--input")] = "text",
    max_cost: Annotated[float | None, typer.Option("--max-cost", parser=_usd)] = None,
    cwd: Annotated[Path | None, typer.Option("--cwd")] = None,
    config: Annotated[Path | None, typer.Option("--config")] = None,
    quiet: Annotated[bool, typer.Option("--quiet")] = False,
    verbose: Annotated[bool, typer.Option("--verbose")] = False,
) -> int:
    """Run one prompt, or go on with a thread."""
    from .gateways.request import Request
    from .gateways.run import run

    if prompt == "-" and input_format == "stream-json":
        raise UsageError(
            "With --input stream-json standard input holds operations, so '-' cannot be the prompt."
        )
    request = Request(
        prompt=prompt,
        model=model,
        max_iterations=max_iterations,
        stream=False if no_stream else None,
        thread=thread,
        continue_last=continue_last,
        resume=resume,
        output=output,
        approve=approve,
        input=input_format,
        max_cost=max_cost,
        cwd=cwd,
        config=config,
        verbosity="quiet" if quiet else "verbose" if verbose else "normal",
    )
    if request.prompt is None and not request.chooses_thread and input_format == "text":
        raise UsageError("No prompt: give one in quotes, or '-' to read it from standard input.")
    return run(request, os.environ)


@threads_app.callback()
def threads_default(context: typer.Context) -> None:
    """List threads when no other word follows."""
    if context.invoked_subcommand is None:
        threads_list()


@threads_app.command("list")
def threads_list(
    everywhere: Annotated[bool, typer.Option("--all", help="Of every directory.")] = False,
    output: TableOutput = "text",
) -> None:
    """List the threads of this directory, newest first."""
    from .gateways.reports import list_threads

    list_threads(os.environ, cwd=None if everywhere else Path.cwd(), output=output)


@threads_app.command("show")
def threads_show(
    thread: Annotated[str, typer.Argument(help="Id or its beginning.")], output: TableOutput = "text"
) -> None:
    """Show one thread: status, cost, plan, files touched, what it waits for."""
    from .gateways.reports import show_thread

    show_thread(os.environ, thread, output=output)


@app.command("history")
def history(
    thread: Annotated[str, typer.Argument(help="Id or its beginning.")], output: TableOutput = "text"
) -> None:
    """List the steps of a thread, with their cost."""
    from .gateways.reports import show_history

    show_history(os.environ, thread, output=output)


@app.command("approve")
def approve_command(
    thread: Annotated[str, typer.Argument(help="Id or its beginning.")],
    yes: Annotated[
        bool | None, typer.Option("--yes/--no", help="The answer, for every waiting call.")
    ] = None,
    feedback: Annotated[str, typer.Option("--feedback", help="What the model is told with the answer.")] = "",
    output: Output = "text",
) -> int:
    """Answer a waiting approval, from any terminal."""
    from .gateways.approve import approve

    return approve(os.environ, thread, yes=yes, feedback=feedback, output=output)


register(app)

__all__: list[Any] = ["app", "main"]

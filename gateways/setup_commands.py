"""Commands about this installation rather than about a thread: what is there, what is set, what is wrong.

Each imports what it needs when it runs, so that `--help` costs nothing.
"""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

TableOutput = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="How to print.")]

tools_app = typer.Typer(help="What the model can call.", rich_markup_mode=None, invoke_without_command=True)
config_app = typer.Typer(
    help="Settings and where they come from.", rich_markup_mode=None, invoke_without_command=True
)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("models")(models_command)
    app.add_typer(tools_app, name="tools")
    app.add_typer(config_app, name="config")
    app.command("login")(login_command)
    app.command("doctor")(doctor_command)
    app.command("demo")(demo_command)


def models_command(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Fetch the Hugging Face router's catalogue first.")
    ] = False,
    output: TableOutput = "text",
) -> None:
    """List the models your keys can use, with windows and prices."""
    from .models import list_models  # noqa: PLC0415 - see above

    list_models(os.environ, refresh=refresh, output=output)


@tools_app.callback()
def tools_default(context: typer.Context, output: TableOutput = "text") -> None:
    """List the tools when no other word follows."""
    if context.invoked_subcommand is None:
        tools_list(output=output)


@tools_app.command("list")
def tools_list(output: TableOutput = "text") -> None:
    """List the tools: name, what each does, class of its effect."""
    from .tool_report import list_tools  # noqa: PLC0415 - see above

    list_tools(os.environ, output=output)


@tools_app.command("show")
def tools_show(
    name: Annotated[str, typer.Argument(help="Name of the tool.")], output: TableOutput = "text"
) -> None:
    """Show one tool as the model sees it: whole description and JSON schema."""
    from .tool_report import show_tool  # noqa: PLC0415 - see above

    show_tool(name, output=output)


@config_app.callback()
def config_default(context: typer.Context, output: TableOutput = "text") -> None:
    """Show the settings when no other word follows."""
    if context.invoked_subcommand is None:
        config_show(output=output)


@config_app.command("show")
def config_show(output: TableOutput = "text") -> None:
    """Show every setting: value, where it was set, whether it has an effect."""
    from .settings_report import show_settings  # noqa: PLC0415 - see above

    show_settings(os.environ, output=output)


@config_app.command("path")
def config_path(output: TableOutput = "text") -> None:
    """List the files settings and keys are read from."""
    from .settings_report import show_paths  # noqa: PLC0415 - see above

    show_paths(os.environ, output=output)


@config_app.command("init")
def config_init() -> None:
    """Write a small settings file of your own, with comments; never over an existing one."""
    from .settings_report import write_user_file  # noqa: PLC0415 - see above

    write_user_file(os.environ)


def login_command() -> None:
    """Check and store a Hugging Face token.

    It is asked for, unseen, or read from standard input when that is no terminal.
    """
    from .login import ask_and_store  # noqa: PLC0415 - see above

    ask_and_store(os.environ)


def doctor_command(
    online: Annotated[bool, typer.Option("--online", help="Also try to reach the endpoints in use.")] = False,
    output: TableOutput = "text",
) -> int:
    """Look for what is wrong; exit 1 if anything is.

    Nothing is changed, and without --online nothing is connected to.
    """
    from .doctor import doctor  # noqa: PLC0415 - see above

    return doctor(os.environ, online=online, output=output)


def demo_command(context: typer.Context) -> int:
    """Run the whole loop with a scripted model.

    No key, no network, about ten seconds. It works in a directory of its own, which is kept.
    """
    from .demo import demo  # noqa: PLC0415 - see above

    return demo(os.environ, getattr(context.find_root().command, "commands", {}))

from __future__ import annotations

import re
from pathlib import Path

from ml_intern.graphs.agent import build_agent

README = Path(__file__).parents[2] / "README.md"


def test_the_edges_are_the_loop_and_nothing_else() -> None:
    edges = build_agent().get_graph().edges
    assert {(edge.source, edge.target, "choice" if edge.conditional else "always") for edge in edges} == {
        ("__start__", "compact", "always"),
        ("compact", "llm_call", "choice"),
        ("compact", "__end__", "choice"),
        ("llm_call", "doom_check", "choice"),
        ("llm_call", "compact", "choice"),
        ("llm_call", "__end__", "choice"),
        ("doom_check", "approval_interrupt", "choice"),
        ("doom_check", "compact", "choice"),
        ("approval_interrupt", "tool_exec", "choice"),
        ("tool_exec", "compact", "always"),
    }


def test_the_readme_draws_the_graph_that_runs() -> None:
    drawings = re.findall(r"```mermaid\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert [_lines(drawing) for drawing in drawings] == [_lines(build_agent().get_graph().draw_mermaid())]


def _lines(drawing: str) -> list[str]:
    """The drawing without its front matter and white space."""
    body = re.sub(r"^---\n.*?\n---\n", "", drawing, flags=re.DOTALL)
    return [line.strip() for line in body.splitlines() if line.strip()]

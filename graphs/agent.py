"""What runs after what: the whole control flow of a turn.

START → compact ─┬─ limit reached / nothing left to shrink ──────────→ END
↑      └→ llm_call ─┬─ answer ─────────────────────────────→ END
│                   ├─ cut, empty, too long, plan unfinished → compact
│                   └─ tool calls → doom_check ─┬─ loop, refused → compact
│                                               └→ approval_interrupt → tool_exec * N
└───────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from langgraph.graph import START, StateGraph

from ..nodes.approval_interrupt import approval_interrupt, send_calls
from ..nodes.compact import compact, route_room
from ..nodes.doom_check import doom_check, route_batch
from ..nodes.llm_call import llm_call, route_reply
from ..nodes.tool_exec import tool_exec
from .state import AgentContext, AgentState

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import Checkpointer

    AgentGraph = CompiledStateGraph[AgentState, AgentContext, AgentState, AgentState]
    Builder = StateGraph[Any, Any, Any, Any]

N = TypeVar("N")

NO_RECURSION_LIMIT = 1_000_000_000
"""LangGraph's own step limit, so high that it never decides: `compact` counts the iterations."""


class Adapt(Protocol):
    """Wraps a node for a host that gives nodes their context in another way."""

    def __call__(self, node: N, /) -> N:
        """A node of the same signature."""


def _as_it_is(node: N, /) -> N:
    return node


def build_agent(checkpointer: Checkpointer = None) -> AgentGraph:
    """The graph as threads run it."""
    graph = wire(StateGraph(AgentState, context_schema=AgentContext))
    return graph.compile(checkpointer=checkpointer, name="ml-intern")


def wire(graph: Builder, adapt: Adapt = _as_it_is) -> Builder:
    """Wire the nodes into an empty graph; who reads this for one minute knows the loop."""
    graph.add_node("compact", adapt(compact))
    graph.add_node("llm_call", adapt(llm_call))
    graph.add_node("doom_check", adapt(doom_check))
    graph.add_node("approval_interrupt", adapt(approval_interrupt))
    graph.add_node("tool_exec", adapt(tool_exec))

    graph.add_edge(START, "compact")
    graph.add_conditional_edges("compact", route_room)
    graph.add_conditional_edges("llm_call", route_reply)
    graph.add_conditional_edges("doom_check", route_batch)
    graph.add_conditional_edges("approval_interrupt", send_calls, ["tool_exec"])
    graph.add_edge("tool_exec", "compact")
    return graph

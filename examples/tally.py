"""Run a prompt and tally it: `python examples/tally.py "count the lines of data.csv" -m ollama/qwen3`.

Shows how another program drives `ml-intern`: it starts one process and reads one event a line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter


def main(arguments: list[str]) -> int:
    """Run `ml-intern` with these arguments; returns its exit code."""
    command = ["ml-intern", "-o", "stream-json", *arguments]
    calls: Counter[str] = Counter()
    cost_usd: float | None = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            data = event["data"]
            if event["event"] == "tool_call":
                calls[data["tool"]] += 1
            elif event["event"] == "llm_call":
                # A price nobody knows is not zero.
                known = cost_usd is not None and data["cost_usd"] is not None
                cost_usd = cost_usd + data["cost_usd"] if known else None
            elif event["event"] == "turn_complete":
                print(data["final_response"])
            elif event["event"] == "approval_required":
                print(f"waiting: ml-intern approve {event['thread_id']}", file=sys.stderr)
    tally = ", ".join(f"{count} x {tool}" for tool, count in calls.most_common()) or "no tool calls"
    print(f"{tally}; {'unknown cost' if cost_usd is None else f'${cost_usd:.4f}'}", file=sys.stderr)
    return process.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

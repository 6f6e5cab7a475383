"""Drive a thread from another program: operations in, events out, one JSON object a line.

    python examples/operations.py "Tidy the runs directory" [MODEL]

Deletions outside of `runs/` are refused; everything else that would be asked is allowed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def main(prompt: str, model: str | None = None) -> int:
    """Run one prompt; returns the exit code of ml-intern."""
    command = ["ml-intern", "--input", "stream-json", "--output", "stream-json", "--approve", "ask"]
    command += ["--model", model] if model else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def send(name: str, **data: Any) -> None:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"op_type": name, "data": data}) + "\n")
            process.stdin.flush()

        send("user_input", text=prompt)
        for line in process.stdout:
            event = json.loads(line)
            name, data = event["event"], event["data"]
            if name == "tool_call":
                print(f"{data['tool']} {json.dumps(data['arguments'])}")
            elif name == "approval_required":
                send("exec_approval", approvals=[decide(call) for call in data["tools"]])
            elif name in ("turn_complete", "limit_reached", "error"):
                print(data.get("final_response") or data.get("message") or data.get("error"))
                send("shutdown")
        return process.wait()


def decide(call: dict[str, Any]) -> dict[str, Any]:
    """The answer to one call that waits."""
    command = call["arguments"].get("command", "")
    approved = not command.startswith("rm ") or " runs/" in command
    feedback = "" if approved else "Delete only below runs/."
    return {"tool_call_id": call["tool_call_id"], "approved": approved, "feedback": feedback}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

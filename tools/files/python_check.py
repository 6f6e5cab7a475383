"""Look over a Python source that was just written; run as a script of its own, source on stdin.

Prints one warning a line. Only the standard library, and nothing of the source is executed.
"""

from __future__ import annotations

import ast
import sys

_CONFIGS = (
    "TrainingArguments",
    "SFTConfig",
    "DPOConfig",
    "GRPOConfig",
    "KTOConfig",
    "ORPOConfig",
    "RewardConfig",
)


def warnings_for(source: str) -> list[str]:
    """What is wrong with a source, or likely to be regretted after a training run."""
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return [f"syntax error in line {error.lineno}: {error.msg} (checked with {version})"]
    except (ValueError, RecursionError, MemoryError) as error:
        return [f"cannot be parsed: {error} (checked with {version})"]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    pushes_later = any(
        isinstance(call.func, ast.Attribute) and call.func.attr == "push_to_hub" for call in calls
    )
    return [text for call in calls for text in _about_config(call, pushes_later)]


def _about_config(call: ast.Call, pushes_later: bool) -> list[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if not name.endswith(_CONFIGS) or None in keywords:  # None: **settings may hold anything
        return []
    found = []
    if "push_to_hub" not in keywords and not pushes_later:
        found.append(
            f"line {call.lineno}: {name} without push_to_hub: the model is lost when the machine goes away"
        )
    push = keywords.get("push_to_hub")
    declined = isinstance(push, ast.Constant) and push.value is False
    if "hub_model_id" not in keywords and not declined and not pushes_later:
        found.append(
            f"line {call.lineno}: {name} without hub_model_id: the model goes to a name made from output_dir"
        )
    return found


if __name__ == "__main__":
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    sys.stdout.write("\n".join(warnings_for(text)))

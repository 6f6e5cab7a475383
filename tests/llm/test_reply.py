from __future__ import annotations

import json

from ml_intern.llm.reply import checked_arguments


    checked = checked_arguments(raw)
    assert checked is not None
    assert json.loads(checked) == {"content": "a\nb\tc"}

"""One work in this process: ``python -m xpnn.bench.gpu NAME OPTIONS.json RESULT.json``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from xpnn.bench.gpu.asked import Asked
from xpnn.bench.gpu.worker import work_on

if __name__ == "__main__":
    name, options, result = sys.argv[1:]
    found = work_on(name, Asked(**json.loads(options)))
    Path(result).write_text(json.dumps(found))
    sys.stderr.flush()
    os._exit(0)  # what is left to take down are devices and threads, which may hang

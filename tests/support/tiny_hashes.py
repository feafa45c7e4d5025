"""Do the tiny run in a folder of its own and print the sha256 of every artifact, as sha256sum does.

Files of times and figures are left out, and compressed ones are hashed as what they hold.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from support.checkouts import MODEL, save_model, semantic, tiny_checkout

with tempfile.TemporaryDirectory() as folder:
    run = tiny_checkout(Path(folder) / "project", save_model("smollm2", Path(folder) / MODEL))
    run.run()
    for name, data in semantic(run).items():
        print(f"{hashlib.sha256(data).hexdigest()}  {name}")

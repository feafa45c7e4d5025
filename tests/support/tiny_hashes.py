"""Do the tiny run in a folder of its own and print the sha256 of every artifact, as sha256sum does.

Files of times and figures are left out, compressed ones are hashed as what they hold, and the name of torch's build,
which batches of labels record, counts for nothing.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

from support.checkouts import MODEL, save_model, semantic, tiny_checkout

with tempfile.TemporaryDirectory() as folder:
    run = tiny_checkout(Path(folder) / "project", save_model("smollm2", Path(folder) / MODEL))
    run.run()
    for name, data in semantic(run).items():
        data = re.sub(rb'("torch": ?"[\d.]+)\+\w+', rb"\1", data)
        print(f"{hashlib.sha256(data).hexdigest()}  {name}")

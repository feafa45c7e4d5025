"""The text of the workflow's rules."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RULE = re.compile(
    r"^ *(?:use rule (\w+) as|rule) (\w+)(?: with)?:\n(.*?)(?=^ *(?:use )?rule |\Z)", re.MULTILINE | re.DOTALL
)


def rules() -> dict[str, str]:
    """Text of every rule by its name; what `use rule` changes stands before the text of the rule that it uses."""
    text = "".join(path.read_text(encoding="utf8") for path in sorted((ROOT / "rules").glob("*.smk")))
    found = {}
    for used, name, body in RULE.findall(text):
        found[name] = body + found.get(used, "")
    return found

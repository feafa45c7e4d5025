"""Arguments that travel in files: a command line takes no more than 128 KB in one of them."""

import json
import subprocess
from pathlib import Path

from snakemake.utils import format as snakemake_format

from fute.plan.argument_files import FOLDER, one_per_line, settings_json


def test_a_command_holds_a_path_and_the_file_the_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = settings_json({"b": "é" * 200_000, "a": [1]})
    params = {"settings": long, "files": one_per_line(["x y", "z"])}
    command = snakemake_format("cat {params[settings]:file} && cat {params[files]:file}", params=params)
    assert len(command) < 200 and str(FOLDER) in command
    assert subprocess.run(command, shell=True, capture_output=True, check=True).stdout.decode() == long + "x y\nz"
    assert json.loads(long) == {"a": [1], "b": "é" * 200_000} and long.startswith('{"a":')


def test_equal_texts_share_a_file_and_other_texts_have_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, same, other = (f"{settings_json(value):file}" for value in ({"a": 1}, {"a": 1}, {"a": 2}))
    assert one == same != other and Path(other).read_text() == '{"a":2}'


def test_shown_as_text_it_is_the_text():
    assert f"{settings_json({'a': 1})}" == '{"a":1}' and f"{one_per_line([]):>2}" == "  "

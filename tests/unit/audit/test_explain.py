"""What `fute audit explain` prints of records that others wrote."""

from __future__ import annotations

from fute.audit.explain import Cost, Explanation, Source, print_explanation


def test_words_of_a_record_are_no_markup(capsys):
    cost = Cost("[/] a[v2]", processes=1, wall_s=1.0, cpu_s=1.0, peak_memory_mb=1, benchmark_s=None)
    print_explanation(Explanation("results/x", {"results/x": Source("[v2]", "0" * 64)}, (cost,)), json=False)
    said = capsys.readouterr().out
    assert "results/x  [v2] 0000" in said and "[/] a[v2]" in said

"""vLLM against transformers: the same prompts, the same weights, real texts, both in fp32."""

from collections.abc import Callable

import numpy as np
import pytest
from support.engine_answers import ROWS, Answers, ask

from fute.llm.class_scores import normalise
from fute.llm.engine import ScoreResult

pytestmark = [pytest.mark.engine, pytest.mark.long]


@pytest.fixture(scope="module")
def answers(by_transformers, model_folder, real_requests, plain_texts) -> dict[str, Answers]:
    # transformers first: vLLM binds the threads of the process for good
    return {"transformers": by_transformers, "vllm": ask("vllm", model_folder, real_requests(ROWS), plain_texts)}


def gaps(answers: dict[str, Answers], part: Callable[[Answers], list[ScoreResult]]) -> np.ndarray:
    """Largest difference of each row's class log-scores between the engines."""
    pairs = zip(part(answers["transformers"]), part(answers["vllm"]), strict=True)
    return np.array([np.abs(np.subtract(a.log_scores, b.log_scores)).max() for a, b in pairs])


def test_the_same_class_where_the_margin_is_clear(answers):
    clear, same = 0, 0
    for a, b in zip(answers["transformers"].plain, answers["vllm"].plain, strict=True):
        second, best = np.sort(normalise(a.log_scores))[-2:]
        if best - second > 0.1:
            clear += 1
            same += np.argmax(a.log_scores) == np.argmax(b.log_scores)
    print(f"\nclear rows: {clear} of {len(answers['vllm'].plain)}, same class on {same}")
    for name, answer in answers.items():
        tokens = np.mean([r.prompt_tokens for r in answer.plain])
        print(f"{name}: {len(answer.plain) / answer.seconds:.1f} requests/s of {tokens:.0f} tokens on average")
    assert clear >= 2 * ROWS, "too few clear rows for the comparison to mean anything"
    assert same >= 0.99 * clear


def test_class_scores_are_close(answers):
    gap = gaps(answers, lambda a: a.plain)
    near = np.mean(gap <= 0.15)
    print(f"\nlargest class log-score gap of a row: median {np.median(gap):.3f}, up to 0.15 on {near:.1%}")
    assert near >= 0.95


def test_both_see_the_same_tokens(answers):
    a, b = answers["transformers"], answers["vllm"]
    assert [r.id for r in a.plain] == [r.id for r in b.plain]
    assert [r.prompt_tokens for r in a.plain] == [r.prompt_tokens for r in b.plain]
    shared = ("chat_template_sha256", "answer_opening", "bos", "end_tokens", "dtype", "head_dtype")
    assert {k: a.identity[k] for k in shared} == {k: b.identity[k] for k in shared}
    tops = np.mean([x.text == y.text for x, y in zip(a.plain, b.plain, strict=True)])
    print(f"\nsame likeliest token: {tops:.3f}")
    assert tops >= 0.9


def test_chains_of_thought_run_in_both(answers):
    for answer in answers.values():
        for result in answer.reasoned:
            assert result.reasoning and 1 <= result.reasoning_tokens <= 16
            assert result.reasoning_truncated == (result.reasoning_tokens == 16)
            assert 0 < result.coverage <= 1
    pairs = zip(answers["transformers"].reasoned, answers["vllm"].reasoned, strict=True)
    same = [(a, b) for a, b in pairs if a.reasoning == b.reasoning]
    print(f"\nsame reasoning: {len(same)} of {len(answers['vllm'].reasoned)}")
    # Rounding may turn a greedy text; where it did not, the scores after it agree.
    assert same
    for a, b in same:
        np.testing.assert_allclose(a.log_scores, b.log_scores, atol=0.3)


def test_sequence_scores_are_close(answers):
    gap = gaps(answers, lambda a: a.sequences)
    print(f"\nsequence log-score gaps: {np.round(gap, 3)}")
    assert np.median(gap) <= 0.1 and gap.max() <= 0.3


def test_perplexities_are_close_and_repeat(answers):
    a, b = answers["transformers"], answers["vllm"]
    assert [p.tokens for p in a.perplexity] == [p.tokens for p in b.perplexity]
    for x, y in ((a.perplexity, b.perplexity), (b.perplexity, b.perplexity_again)):
        np.testing.assert_allclose([p.mean_nll for p in x], [p.mean_nll for p in y], atol=0.05)


def test_both_generate_text(answers):
    for answer in answers.values():
        assert len(answer.generated) == 1 and answer.generated[0].strip()

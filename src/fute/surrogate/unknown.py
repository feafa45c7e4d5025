"""Tokens that a surrogate's tokenizer does not know: texts that differ only there are the same to the surrogate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from fute.surrogate.labelled import Labelled
from fute.surrogate.text2text import Pair


@dataclass(frozen=True)
class UnknownTokens:
    """Unknown tokens of a set of pairs.

    share: of all tokens of x and y, in [0, 1]. unusable: places of pairs whose x, or whose y, holds no known token.
    """

    share: float
    unusable: tuple[int, ...]


def unknown_tokens(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair] | Sequence[Labelled]) -> UnknownTokens:
    """Count the unknown tokens in the texts of pairs.

    A tokenizer without an unknown token, or with one that is also another mark (byte-level ones), knows every text.
    """
    unknown = tokenizer.unk_token_id
    others = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    if unknown is None or unknown in others or not pairs:
        return UnknownTokens(0.0, ())
    x = _ids(tokenizer, [" ".join(pair.x) for pair in pairs])
    y = _ids(tokenizer, [pair.y for pair in pairs if isinstance(pair, Pair)]) or [[]] * len(pairs)
    blank: dict[int, bool] = {unknown: False}

    def is_blank(token: int) -> bool:
        # SentencePiece puts a blank before a text, whatever follows
        if token not in blank:
            blank[token] = not tokenizer.decode([token]).strip()
        return blank[token]

    def nothing_known(ids: list[int]) -> bool:
        return unknown in ids and all(token == unknown or is_blank(token) for token in ids)

    rows = [*x, *y]
    share = sum(ids.count(unknown) for ids in rows) / max(1, sum(map(len, rows)))
    unusable = [i for i, texts in enumerate(zip(x, y, strict=True)) if any(map(nothing_known, texts))]
    return UnknownTokens(share, tuple(unusable))


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []

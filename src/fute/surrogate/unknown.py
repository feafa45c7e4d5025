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
    """Count the unknown tokens in the texts of pairs. A mark of the model inside a text of T5 is a blank.

    A tokenizer without an unknown token, or with one that is also another mark (byte-level ones), knows every text.
    """
    unknown = tokenizer.unk_token_id
    others = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    if unknown is None or unknown in others or not pairs:
        return UnknownTokens(0.0, ())
    texts = [(" ".join(pair.x), *([pair.y] if isinstance(pair, Pair) else [])) for pair in pairs]
    ids = [_ids(tokenizer, list(side)) for side in zip(*texts, strict=True)]
    blank: dict[int, bool] = {unknown: False}

    def is_blank(token: int) -> bool:
        # SentencePiece puts a blank before a text, whatever follows
        if token not in blank:
            blank[token] = not tokenizer.decode([token]).strip()
        return blank[token]

    def nothing_known(text: str, tokens: list[int]) -> bool:
        # a text that is itself blank is an error of its own, where it is encoded
        return bool(text.strip()) and all(token == unknown or is_blank(token) for token in tokens)

    rows = [tokens for side in ids for tokens in side]
    share = sum(tokens.count(unknown) for tokens in rows) / max(1, sum(map(len, rows)))
    unusable = [i for i, sides in enumerate(zip(*ids, strict=True)) if any(map(nothing_known, texts[i], sides))]
    return UnknownTokens(share, tuple(unusable))


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]

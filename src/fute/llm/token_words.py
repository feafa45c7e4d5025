"""Class scores from the tokens that a server returns: what word each stands for, and what the classes can have at most.

A server has no tokenizer to use, so a token speaks for a class by its text. Servers write that text in several ways:
as it stands in the answer, as the vocabulary's entry (`Ġyes`, `▁yes`, `<0x79>`), or as `bytes:\\x79\\x65\\x73`.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST_BOUND = 1e-9  # of a class's probability: sums of rounded probabilities are no more exact
MOST_TOTAL = 1.05  # of all returned probabilities together: log-probabilities in bfloat16 are off by up to a hundredth
TOKEN_ID = re.compile(r"token_id:\d+")
_BYTE_ENTRY = re.compile(rb"(?:<0x[0-9A-Fa-f]{2}>)+")
_ESCAPED = re.compile(rb"\\x([0-9A-Fa-f]{2})")


def _byte_of_letter() -> dict[str, int]:
    """Letter -> byte in the vocabulary of byte-level BPE, which writes blanks and control bytes as letters from 256."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTE_OF_LETTER = _byte_of_letter()


@dataclass(frozen=True, slots=True)
class Token:
    """A returned token. text: as the server writes it. exact: its bytes. logprob: None where the server gave no number.

    `exact` is the field `bytes` of the answer, where it has one, else the text in UTF-8.
    """

    text: str
    exact: bytes
    logprob: float | None

    @classmethod
    def read(cls, entry: Any) -> "Token | None":
        """A token of an answer; None for an entry without a text."""
        if not isinstance(entry, dict):
            return None
        text, given, logprob = entry.get("token"), entry.get("bytes"), entry.get("logprob")
        try:
            exact = bytes(given) if given and isinstance(given, list) else b""
        except (TypeError, ValueError):  # not whole numbers from 0 to 255
            exact = b""
        if not isinstance(text, str):
            text = exact.decode(errors="replace")
        if not text:
            return None
        try:
            number = float(logprob) if type(logprob) in (int, float) else math.nan
        except OverflowError:
            number = math.nan
        exact = exact or text.encode(errors="surrogatepass")
        return cls(text, exact, None if math.isnan(number) else number)

    @property
    def is_id(self) -> bool:
        """True if the token has a number in place of its text."""
        return TOKEN_ID.fullmatch(self.exact.decode(errors="replace")) is not None

    def readings(self) -> Iterator[bytes]:
        """What the token may stand for, without blanks around it: first to the letter, then as a vocabulary's entry.

        The field `bytes` is read alike, because some servers fill it with the letters of the vocabulary's entry.
        """
        yield _stripped(self.exact)
        if self.exact.startswith(b"bytes:"):
            yield _stripped(_ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), self.exact.removeprefix(b"bytes:")))
        elif _BYTE_ENTRY.fullmatch(self.exact):
            yield _stripped(bytes.fromhex(re.sub(rb"<0x|>", b"", self.exact).decode()))
        elif not self.exact.isascii():
            text = self.exact.decode(errors="replace")
            yield _stripped(text.replace("▁", " ").encode())
            if all(letter in BYTE_OF_LETTER for letter in text):
                word = bytes(BYTE_OF_LETTER[letter] for letter in text)
                # a part of a letter is not told from a letter such as é
                yield _stripped(word) if _is_text(word) else b""


def _is_text(word: bytes) -> bool:
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return True


def _stripped(word: bytes) -> bytes:
    return word.decode().strip().encode() if _is_text(word) else word.strip()


def token_classes(token: Token, classes: Sequence[Sequence[str]]) -> list[int]:
    """Classes that a returned token may speak for: none, one, or several if it is a beginning of words of several.

    The token is one of a class's verbalizers, in this case of letters, or the beginning of one. A whole word counts
    before beginnings.
    """
    encoded = [[word.encode() for word in words] for words in classes]
    for word in filter(None, token.readings()):
        for match in (bytes.__eq__, bytes.startswith):
            owners = [i for i, words in enumerate(encoded) if any(match(v, word) for v in words)]
            if owners:
                return owners
    return []


def returned_probability(tokens: Sequence[Token]) -> float:
    """Sum of the returned probabilities; above MOST_TOTAL they are none."""
    return sum(math.exp(min(token.logprob, 1.0)) for token in tokens if token.logprob is not None)


def class_log_scores(
    tokens: Sequence[Token], classes: Sequence[Sequence[str]]
) -> tuple[tuple[float, ...], tuple[bool, ...]]:
    """Class log-scores from the returned tokens; and per class True for a score, False for an upper bound.

    Tokens that stand for the same word add up. A class without a token has at most the probability that was not
    returned, and that of returned beginnings that are not its own alone. A class with tokens has a bound in place of
    its score if such beginnings, or a token of its own without a log-probability, may make it the best class. A token
    of probability 0 is as good as not returned.
    """
    own: list[list[float]] = [[] for _ in classes]
    shared = np.zeros(len(classes))
    unknown = np.zeros(len(classes), bool)
    for token in tokens:
        owners = token_classes(token, classes)
        if token.logprob is None:
            unknown[owners] = True
        elif len(owners) == 1 and math.exp(token.logprob) > 0:
            own[owners[0]].append(token.logprob)
        else:
            shared[owners] += math.exp(token.logprob)
    scores = np.array([np.logaddexp.reduce(logprobs) if logprobs else -np.inf for logprobs in own])
    lacking = np.isinf(scores)
    rest = max(1 - returned_probability(tokens), 0.0)
    more = shared + np.where(lacking | unknown, rest, 0)
    with np.errstate(divide="ignore"):
        most = np.where(more > 0, np.log(np.exp(scores) + more), scores)
    best = int(np.argmax(scores))
    wins = (most > scores[best]) | ((most == scores[best]) & (np.arange(len(classes)) < best))
    wins[best] = False
    seen = ~lacking & ~wins
    bounds = np.maximum(most, math.log(LEAST_BOUND))
    return tuple(np.where(seen, scores, bounds).tolist()), tuple(seen.tolist())

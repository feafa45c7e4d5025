"""Tiny random BART, BERT, GPT-2, Llama and T5 folders with subword tokenizers: stand-ins for fine-tuned black boxes.

    python -m support.small_lms KIND FOLDER [SMOLLM2]

makes one for the workflow's tests: a family; `smollm2`, with the tokenizer of the real model in a folder; or `words`,
the T5 of `support.stand_ins`.
"""

from __future__ import annotations

import shutil
import string
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils.logging import disable_progress_bar

from fute.blackbox.heads import Pretrained
from fute.config.datasets import Scale
from fute.data.rows import Answer, Row
from fute.specs.finetuning import TaskSettings
from support.stand_ins import save_stand_in

disable_progress_bar()
FAMILIES = ("bart", "bert", "gpt2", "llama", "t5")
SENTIMENT = TaskSettings(dataset="mood", task="classification", metric="accuracy", classes=("negative", "positive"))
SIMILAR = TaskSettings(dataset="similar", task="regression", metric="spearman", scale=Scale(low=0, high=5, step=0.2))
WHERE = TaskSettings(dataset="where", task="span", metric="span_f1")


def _bert_tokenizer() -> PreTrainedTokenizerFast:
    """Word pieces of one or two characters, lower case, accents stripped: offsets differ from those of the pieces."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{c}" for c in letters), "th", "##er", "##in"]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **marks
    )


def _byte_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Bytes, as GPT-2 and SmolLM2 have them below their merges; T5's puts an end mark after each segment, BART's two
    between segments."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {p: i for i, p in enumerate(["</s>", "<pad>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if family == "t5":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 0)]
        )
    if family == "bart":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> </s> $B </s>", special_tokens=[("</s>", 0)]
        )
    pad = {} if family == "gpt2" else {"pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", **pad)


def save_small(folder: Path, family: str) -> Path:
    """A snapshot folder of a tiny random model of two blocks (BERT: three), 16 wide."""
    tokenizer = _bert_tokenizer() if family == "bert" else _byte_tokenizer(family)
    tokenizer.save_pretrained(folder)
    size = len(tokenizer)
    torch.manual_seed(0)
    if family == "bert":
        shape = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
        model = BertModel(BertConfig(vocab_size=size, max_position_embeddings=160, **shape))
    elif family == "bart":
        shape = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 160}
        marks = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1, "decoder_start_token_id": 0}
        model = BartForConditionalGeneration(BartConfig(vocab_size=size, **shape, **heads, **marks))
    elif family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=160))
    elif family == "llama":
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=size, num_key_value_heads=1, tie_word_embeddings=True, **shape))
    else:
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
        model = T5ForConditionalGeneration(
            T5Config(vocab_size=size, eos_token_id=0, pad_token_id=1, decoder_start_token_id=1, **shape)
        )
    model.save_pretrained(folder)
    return folder


@cache
def _folder() -> TemporaryDirectory[str]:
    """Of this process, and removed with it."""
    return TemporaryDirectory(prefix="fute-small-lms-")


@cache
def pretrained(family: str) -> Pretrained:
    """A family's model, one for all tests of a process."""
    return Pretrained(save_small(Path(_folder().name) / family, family))


def save_small_smollm2(folder: Path, real: Path) -> Path:
    """Random weights in SmolLM2's form, four blocks of 128, beside its own tokenizer and chat template."""
    folder.mkdir(parents=True)
    for path in real.iterdir():
        if path.name != "model.safetensors":
            shutil.copy(path, folder / path.name)
    torch.manual_seed(0)
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig.from_pretrained(real, num_hidden_layers=4, head_dim=64, initializer_range=0.1, **shape)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def mood_rows(count: int, name: str = "mood") -> list[Row]:
    """Short texts whose words give the class away."""
    words = (("dull", "bad", "grim"), ("good", "fine", "warm"))
    return [Row(f"{name}/{i}", (f"a {words[i % 2][i % 3]} film {i}",), SENTIMENT.classes[i % 2]) for i in range(count)]


def similar_rows(count: int) -> list[Row]:
    """Pairs with a number."""
    return [
        Row(f"similar/{i}", (f"item {i}", f"thing {i * 7 % 5}"), f"{i % 5}.0", value=float(i % 5)) for i in range(count)
    ]


def where_rows(count: int) -> list[Row]:
    """Questions with a context; every third has no answer in it."""
    rows = []
    for i in range(count):
        place = ("Rome", "Oslo", "Bonn")[i % 3]
        context = f"No. {i}: she lives in {place}, {'far ' * (i % 4)}away."
        answers = () if i % 3 == 2 else (Answer(place, context.index(place)),)
        rows.append(
            Row(f"where/{i}", ("Where is she?", context), place if answers else "unanswerable", answers=answers)
        )
    return rows


if __name__ == "__main__":
    kind, folder, *real = sys.argv[1:]
    if kind == "smollm2":
        save_small_smollm2(Path(folder), Path(*real))
    elif kind == "words":
        save_stand_in(Path(folder), "encoder-decoder")
    else:
        save_small(Path(folder), kind)

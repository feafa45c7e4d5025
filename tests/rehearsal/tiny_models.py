"""Tiny models under the paper's ids: random weights, the right architectures and kinds of tokenizers, about 1 MB each.

No real tokenizer is here, so that each is trained on the sample's texts, of the same kind as the real one: Llama's and
Mixtral's byte-pair pieces of words with `▁`, with single bytes for what has no piece; T5's unigrams; BERT's word
pieces; GPT-2's byte-level pairs. Chat templates are those of Llama-2 and Mixtral in their simplest form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForPreTraining,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from rehearsal.repositories import Sample

PIECES = 2000
"""Pieces of each vocabulary, without marks and single bytes."""
BYTES = [f"<0x{number:02X}>" for number in range(256)]
LLAMA_CHAT = (
    "{{ bos_token }}{% set system = messages[0]['role'] == 'system' %}"
    "{% set turns = messages[1:] if system else messages %}{% for message in turns %}{% if message['role'] == 'user' %}"
    "[INST] {% if loop.first and system %}<<SYS>>\n{{ messages[0]['content'] }}\n<</SYS>>\n\n{% endif %}"
    "{{ message['content'] }} [/INST]{% else %} {{ message['content'] }} {{ eos_token }}{{ bos_token }}{% endif %}"
    "{% endfor %}"
)
MIXTRAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} "
    "[/INST]{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


def llama_tokenizer(texts: list[str], chat: str) -> PreTrainedTokenizerFast:
    """Pieces of words that start with `▁`; what has no piece is written in bytes; a mark at the start."""
    marks = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=True)  # for the training: pieces end with their word
    trainer = trainers.BpeTrainer(vocab_size=PIECES, special_tokens=[*marks, *BYTES], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = None
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    replace, strip = decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence([replace, decoders.ByteFallback(), decoders.Fuse(), strip])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    made.chat_template = chat
    return made


def t5_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Unigrams, an end mark after each text, and the hundred sentinels."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\n", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=PIECES, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=[f"<extra_id_{number}>" for number in range(100)],
    )  # fmt: skip


def bert_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Word pieces in lower case."""
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    names = [*marks.values(), "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=PIECES, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")],
    )  # fmt: skip
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"], **marks,
    )  # fmt: skip


def gpt2_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Pairs of bytes; no mark but the end of a text, and none to pad with."""
    end = "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, special_tokens=[end], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, unk_token=end)


def sample_texts(data: Path) -> list[str]:
    """Texts that tokenizers are trained on: a few thousand lines of the sample, and the words of the prompts."""
    real = Sample(data)
    rows = [*real.rows("sst2", "train", 1500), *real.rows("snli", "train", 1500), *real.rows("cola", "train", 1000)]
    texts = [value for row in rows for value in row.values() if isinstance(value, str)]
    prompts = [path.read_text(encoding="utf8") for path in sorted(Path("config/prompts").glob("*.yaml"))]
    return texts + 20 * [line for text in prompts for line in text.splitlines()]


LLAMA = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA |= {"max_position_embeddings": 4096, "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}


def make_model(name: str, texts: list[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model of a repository, and its tokenizer. Chat models are bfloat16, as theirs are half precision."""
    if name.startswith("meta-llama/"):
        tokenizer = llama_tokenizer(texts, LLAMA_CHAT)
        heads = 2 if "70b" in name else 4  # the 70B shares keys and values between heads
        config = LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=heads, **LLAMA)
        return LlamaForCausalLM(config).to(torch.bfloat16), tokenizer
    if name.startswith("mistralai/"):
        tokenizer = llama_tokenizer(texts, MIXTRAL_CHAT)
        experts = {"num_local_experts": 8, "num_experts_per_tok": 2, "num_key_value_heads": 2}
        config = MixtralConfig(vocab_size=len(tokenizer), **experts, **LLAMA)
        return MixtralForCausalLM(config).to(torch.bfloat16), tokenizer
    if name.startswith("google-t5/"):
        tokenizer = t5_tokenizer(texts)
        shape = {"d_model": 64, "d_kv": 16, "num_heads": 4, "num_layers": 2, "d_ff": 160}
        marks = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
        return T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **shape, **marks)), tokenizer
    if name.startswith("google-bert/"):
        tokenizer = bert_tokenizer(texts)
        shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 160}
        return BertForPreTraining(BertConfig(vocab_size=len(tokenizer), **shape)), tokenizer
    tokenizer = gpt2_tokenizer(texts)
    shape = {"n_embd": 64, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape)), tokenizer


def make_models(folder: Path, data: Path, repos: Iterable[tuple[str, bool]]) -> None:
    """Make repositories of models below a folder, as `rehearsal.hub` serves them. repos: name, and if it is gated."""
    texts = sample_texts(data)
    for number, (repo, gated) in enumerate(repos):
        branch = folder / "models" / repo / "main"
        torch.manual_seed(number)
        model, tokenizer = make_model(repo, texts)
        model.save_pretrained(branch)
        tokenizer.save_pretrained(branch)
        weights = branch / "model.safetensors"
        if repo.startswith(("meta-llama/", "mistralai/")):
            shard(weights)
        (branch / "README.md").write_text(f"# {repo}\nRandom weights, for a rehearsal.\n")
        (branch / "pytorch_model.bin").write_bytes(b"the same weights in torch's own form, which nobody should fetch")
        if gated:
            (branch.parent / ".gated").touch()


def shard(weights: Path) -> None:
    """Cut weights into two files with an index, as large repositories have them."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    names = sorted(tensors)
    parts = {1: names[: len(names) // 2], 2: names[len(names) // 2 :]}
    files = {number: f"model-{number:05d}-of-00002.safetensors" for number in parts}
    for number, part in parts.items():
        save_file({name: tensors[name] for name in part}, weights.with_name(files[number]), metadata={"format": "pt"})
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": {n: files[i] for i, part in parts.items() for n in part}}
    weights.with_name("model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    weights.unlink()

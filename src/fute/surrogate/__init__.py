"""The surrogate model: the one model that is trained on every set of pairs to embed it.

`text2text`   pairs to token ids and to losses, for encoder-decoder and causal language models
`heads`       the other form: a small head of classes, a number or a span, new for every set of pairs
`labelled`    the pairs of the heads form, and the place of answers among the surrogate's tokens
`training`    the one training loop: seeded order, AdamW, linear schedule, early stopping
`checkpoint`  the state of a training on disk, to go on after a kill
`fisher`      the exact diagonal of the empirical Fisher information, per example (TaskEmb)
`tuning`      the interface of all tunings of a frozen surrogate (TuPaTE):
`prefix`      deep prefixes, through the cache or by `prefix_attention`
`adapters`    LoRA and biases, through peft
`states`      states below everything that is trained, computed once
`frozen`      cheap gradients through weights that stay as they are
"""

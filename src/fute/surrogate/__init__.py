"""The surrogate model: the one model that is trained on every set of pairs to embed it.

`text2text`  pairs to token ids and to losses, for encoder-decoder and causal language models
`prefix`     deep prefix tuning of a frozen surrogate (TuPaTE)
`fisher`     the exact diagonal of the empirical Fisher information, per example (TaskEmb)
`training`   the one training loop: seeded order, AdamW, linear schedule, early stopping
"""

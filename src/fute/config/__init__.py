"""All that people write in YAML: runs, the registries of models and datasets, and prompts. One file per section.

These modules import nothing of the package but each other, so that every part of it can read them. Each key has its
description here, from which `document` writes docs/config.md and the schemas that editors read.

`run` reads and checks files; `settings` has the keys of a run, `presets` other defaults for them.

`data` `unsup`                                        where texts come from
`llm_experiment` `engines`                            the LLM experiment
`lm_experiment` `finetuning` `plugins` `lm_baselines` the language-model experiment
`surrogate` `methods`                                 how task embeddings are learned
`models` `datasets` `prompts` `categories`            the registries
"""

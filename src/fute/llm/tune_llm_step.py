"""Fine-tune an LLM on labelled rows, so that it answers some prompts as the rows are labelled.

Small LLMs can do little without it. Prompts that such an LLM has seen, others, and some that ask for something else
differ in how often it is right by far more than sampling error.
"""

from __future__ import annotations

import copy
import random
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from fute.artifacts import Step, content_key, files_of, replace_folder, sha256_file
from fute.blackbox.finetune import rows_to_learn
from fute.code_hash import code_sha256
from fute.config.engines import EngineSettings
from fute.config.prompts import Prompt, user_message
from fute.config.surrogate import SurrogateSettings
from fute.data.model_folder import model_files, unfinished_folder
from fute.data.rows import Row, read_rows
from fute.device import compute_device
from fute.llm.engine import EngineError, PromptTokenizer, positions_of
from fute.llm.long_texts import cut_words
from fute.llm.scoring import verbalizer_ids
from fute.progress import TrainingProgress
from fute.specs.tuning import TuneSpec
from fute.surrogate.checkpoint import Checkpoint, heed_sigterm
from fute.surrogate.frozen import Cut, names_above
from fute.surrogate.states import KeptStates
from fute.surrogate.text2text import Example, Surrogate, load_surrogate
from fute.surrogate.training import TrainingLog, count_steps, train

STATE = "training.state"
"""In the folder of what is unfinished: the training's state, which stays until all is written."""
OF_WEIGHTS = (".safetensors", ".bin", ".index.json")
"""Endings of the files of a saved model that hold weights, or name those that do."""


def tune_llm(spec: TuneSpec, *, model: Path, lock: Path, files: Mapping[str, Path], folder: Path, output: Path) -> None:
    """Fine-tune an LLM and save it like a fetched model; a killed run goes on from its last checkpoint.

    model, lock: folder and lock of the LLM that it starts from. files: `train:{dataset}` -> rows. folder: gets the
    weights, rounded to bf16, and the files of `model` beside them. output: the lock of `folder`, with one sha256 per
    file and the loss at the training's start and end, in nats per target token.
    Raises EngineError for a model without a chat template, for a row whose label is no class of its prompts or whose
    prompt is longer than the model's positions, and for too few steps.
    """
    llm = load_surrogate(model, SurrogateSettings(family="causal", dtype="bfloat16"))
    llm.model.to(compute_device())
    rows = {
        category: [row for name in names for row in read_rows(files[f"train:{name}"])]
        for category, names in spec.recipe.datasets.items()
    }
    # prompts may be as long as the model has positions
    settings = EngineSettings(engine="transformers", chat_template=spec.chat_template, max_length=sys.maxsize)
    prompts = PromptTokenizer(llm.tokenizer, settings, positions_of(llm.model.config))
    examples = answers_to_learn(spec, prompts, rows)
    texts = [(example.input_ids, example.target_ids) for example in examples]
    key = content_key([spec.model_dump(mode="json"), sha256_file(lock), texts, code_sha256(__name__)])
    unfinished = unfinished_folder(folder, key[:40])
    checkpoint = Checkpoint(unfinished / STATE, key)
    with heed_sigterm(), TrainingProgress(spec.model, len(examples) * (spec.recipe.epochs or 1)) as progress:
        log = tune(llm, spec, examples, progress, checkpoint)
    print(f"{spec.model}: {log.steps} steps, loss {log.loss_start:.2f}, then {log.loss_end:.2f}")
    # a name of its own: a job on a lost node may be saving the same beside its second attempt
    made = _save(llm, model, unfinished / f"model.{secrets.token_hex(4)}", folder)
    with Step(
        __name__, settings=spec.model_dump(mode="json"), inputs=[lock, *files.values()], seeds={"order": spec.seed}
    ) as step:
        training = {"steps": log.steps, "loss_start": log.loss_start, "loss_end": log.loss_end}
        source = {"tuned": spec.recipe.model}
        step.json(output, {"model": spec.model, "source": source, "training": training, "files": made})
    shutil.rmtree(unfinished, ignore_errors=True)


def answers_to_learn(spec: TuneSpec, prompts: PromptTokenizer, rows: Mapping[str, Sequence[Row]]) -> list[Example]:
    """Rows as token ids, each under one of its category's prompts in turn: the prompt, and the first word of its class.

    The answer ends with the tokenizer's end token. rows: category -> labelled rows. With `steps`, as many rows as these
    take, in a seeded order that starts again where they do not suffice.
    """
    joined = [(category, row) for category, given in rows.items() for row in given]
    random.Random(spec.seed).shuffle(joined)  # files may have their classes in turns, too
    examples = []
    asked = dict.fromkeys(rows, 0)
    for category, row in rows_to_learn(joined, spec.recipe, spec.seed):
        choices = spec.prompts[category]
        prompt = choices[asked[category] % len(choices)]
        asked[category] += 1
        examples.append(_example(len(examples), spec, prompts, prompt, row))
    steps = count_steps(len(examples), epochs=spec.recipe.epochs or 1, batch_size=spec.recipe.batch_size)
    if steps < spec.recipe.min_steps:
        raise EngineError(
            f"{spec.model}: {len(examples)} rows are {steps} steps, fewer than min_steps={spec.recipe.min_steps}; use "
            "more epochs, or give steps"
        )
    return examples


def _example(index: int, spec: TuneSpec, prompts: PromptTokenizer, prompt: Prompt, row: Row) -> Example:
    if row.label not in prompt.verbalizers:
        raise EngineError(f"row {row.id}: its label {row.label!r} is none of {', '.join(prompt.verbalizers)}")
    segments = tuple(cut_words(segment, spec.max_text_words) for segment in row.segments)
    rendered = prompts.render(user_message(prompt, segments), system=spec.system)
    words = [[prompts.lead + word for word in words] for words in prompt.verbalizers.values()]
    classes = verbalizer_ids(lambda text: prompts.encode([text])[0], rendered, words, "sequence")
    (asked,) = prompts.encode([rendered])
    answer = classes[list(prompt.verbalizers).index(row.label)][0]
    prompts.check_length(f"{prompt.id} on {row.id}", asked, len(answer))
    return Example(index, tuple(asked), (*answer, prompts.tokenizer.eos_token_id), False, False)


def tune(
    llm: Surrogate, spec: TuneSpec, examples: list[Example], progress: TrainingProgress | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainingLog:  # fmt: skip
    """Train the last layers of a loaded, frozen LLM in fp32 and write them back into it, rounded to its own format.

    What the layers below say of the examples is computed once.
    """
    cut = Cut(llm, spec.recipe.layers)
    names = names_above(cut)
    part = copy.deepcopy(cut.model).float()
    batches = KeptStates(cut).batches("train", examples)
    trained = {name: parameter for name, parameter in part.named_parameters() if name in names}
    part.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)

    def losses(batch: Sequence[Example]) -> Tensor:
        return llm.losses(part, cut.inputs(batches(batch)), use_cache=False)

    log = train(
        losses, trained.items(), examples, **spec.recipe.optimiser(), order_seed=spec.seed, progress=progress,
        accelerator=Accelerator(cpu=compute_device().type == "cpu"), checkpoint=checkpoint,
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in trained.items():
            llm.model.get_parameter(names[name]).copy_(parameter)
    return log


def _save(llm: Surrogate, source: Path, unfinished: Path, folder: Path) -> dict[str, dict[str, str | int]]:
    """Save the model, complete or not at all, with the tokenizer's files of `source`; hash and size of each file."""
    # the source's is copied: published ones are not all such as transformers agrees to write
    llm.model.generation_config = GenerationConfig()
    llm.model.save_pretrained(unfinished)
    (unfinished / GENERATION_CONFIG_NAME).unlink(missing_ok=True)
    for name, path in model_files(source).items():
        if not name.endswith(OF_WEIGHTS) and not (unfinished / name).exists():
            shutil.copyfile(path, unfinished / name)
    made = files_of(unfinished)
    replace_folder(folder, unfinished)
    return made

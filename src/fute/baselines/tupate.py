"""TuPaTE of Zhou et al. (EMNLP 2022) on a black box's architecture: a deep prefix tuned on a labelled dataset.

As in P-tuning v2 (Liu et al., ACL 2022), every self-attention layer of the frozen model gets keys and values of extra
positions, which are trained together with the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor, nn

from fute.artifacts import content_key
from fute.blackbox.encoding import Encoded
from fute.blackbox.finetune import example_losses
from fute.blackbox.heads import BlackBox
from fute.blackbox.layers import encoder_layers
from fute.config.lm_baselines import PrefixRecipe
from fute.surrogate.checkpoint import Checkpoint
from fute.surrogate.dropout import drop_per_example
from fute.surrogate.prefix import PrefixShape, initial_prefix
from fute.surrogate.prefix_attention import prefixed, use_prefix_attention
from fute.surrogate.training import Progress, TrainingLog, train


@dataclass(frozen=True)
class TunedPrefix:
    """A prefix before and after its training, (layers, 2 = key and value, heads, length, head_dim)."""

    start: Tensor
    prefix: Tensor
    log: TrainingLog


class PrefixedBlackBox:
    """A frozen encoder with a prefix before every self-attention layer, and a head; both are trained.

    head: the box's parameters above the pretrained ones. All prefixes of the same model, length and `init_seed` have
    the same start. Raises BlackBoxError if the model is not an encoder of BERT's shape.
    """

    def __init__(self, box: BlackBox, head: Mapping[str, nn.Parameter], *, length: int, init_seed: int) -> None:
        self.box = box
        self.attentions = [layer.attention for layer in encoder_layers(box)]
        use_prefix_attention(box.model)
        self.start = initial_prefix(PrefixShape.of(box.model.config), length=length, seed=init_seed)
        self.prefix = nn.Parameter(self.start.to(box.device, copy=True))
        box.model.eval().requires_grad_(False)
        self.head = {name: parameter.requires_grad_(True) for name, parameter in head.items()}

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """What is trained, by name."""
        return [("prefix", self.prefix), *self.head.items()]

    def losses(self, batch: Sequence[Encoded], *, dropout: float = 0.0) -> Tensor:
        """Loss of each text, (B,). dropout: rate on the prefix, with a mask for each text."""
        prefix = self.prefix[None]
        if dropout:
            prefix = drop_per_example(self.prefix, dropout, [text.index for text in batch])
        with prefixed(self.attentions, list(prefix.permute(1, 2, 0, 3, 4, 5))):
            return example_losses(self.box, batch)


def tune_prefix(
    tuned: PrefixedBlackBox, examples: Sequence[Encoded], recipe: PrefixRecipe, *, seed: int,
    accelerator: Accelerator, progress: Progress | None = None, checkpoint: Path | None = None,
    start: Sequence[str] = (),
) -> TunedPrefix:  # fmt: skip
    """Train a prefix and its head. checkpoint, start: as in `fute.blackbox.finetune.finetune`."""
    kept = None
    if checkpoint:
        texts = [(e.input_ids, e.target) for e in examples]
        shape = list(tuned.start.shape)
        kept = Checkpoint(checkpoint, content_key([list(start), recipe.model_dump(), seed, shape, texts]))
    log = train(
        lambda batch: tuned.losses(batch, dropout=recipe.dropout),
        tuned.parameters(),
        examples,
        **recipe.optimiser(),
        order_seed=seed,
        progress=progress,
        accelerator=accelerator,
        checkpoint=kept,
    )
    return TunedPrefix(tuned.start, tuned.prefix.detach().cpu(), log)

"""TextEmb on the surrogate against states taken by hand, one pair at a time."""

import numpy as np
import pytest
import torch
from support.stand_ins import FAMILIES, pairs, save_stand_in

from fute.config.methods import TextEmbSettings
from fute.config.surrogate import SurrogateSettings
from fute.embeddings import cosine
from fute.embeddings.embedder import Embedder
from fute.surrogate.text2text import Pair, encode_pairs


@pytest.mark.parametrize("family", FAMILIES)
def test_vector_is_the_mean_of_means_at_the_targets(tmp_path, family):
    folder = save_stand_in(tmp_path, family)
    made = Embedder(folder, SurrogateSettings(family=family, max_input_tokens=12), TextEmbSettings(batch_size=5), "sha")
    given = [*pairs(1, n=11), Pair(("the film",), "great and good")]
    found = made.embed(given)
    model, expected = made.surrogate.model, []
    for example in encode_pairs(made.surrogate, given):
        inputs, target = torch.tensor([example.input_ids]), list(example.target_ids)
        with torch.no_grad():
            if family == "encoder-decoder":
                ids = torch.tensor([[0, *target[:-1]]])
                output = model(inputs, decoder_input_ids=ids, output_hidden_states=True)
                states = output.decoder_hidden_states[-1][0]
            else:
                whole = torch.cat([inputs, torch.tensor([target])], 1)
                states = model(whole, output_hidden_states=True).hidden_states[-1][0, -len(target) :]
        expected.append(states.mean(0).numpy())
    np.testing.assert_allclose(found.vector, np.mean(expected, 0), rtol=1e-4, atol=1e-6)
    assert found.method == "textemb" and found.init is None and found.meta["pairs"] == 12
    other = made.embed([Pair(p.x, "bad" if p.y == "positive" else "good") for p in given])
    assert cosine(found, other) < 1 - 1e-6, "what a model says of the texts must show"

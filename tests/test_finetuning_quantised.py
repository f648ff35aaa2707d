"""A base model in 4 bits (NF4, as in the paper), adapters in float32."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import tiny
from finetuning_world import Answers, Classes
from langneurons.finetuning import finetune, load_adapter
from langneurons.identification import Units
from langneurons.models import wrap

pytest.importorskip("bitsandbytes")

UNITS = Units([0, 0, 0, 1, 1, 1], [1, 2, 40, 0, 9, 63])
FAST = {"steps": 6, "batch_size": 8, "rank": 3, "learning_rate": 1e-2, "dtype": "fp32"}


def packed_weights(lm):
    # Scales are left out: on CPUs with AVX-512 bitsandbytes rounds them when it first runs.
    state = lm.model.state_dict()
    return {name: t.clone() for name, t in state.items() if name.endswith(".weight")}


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    sizes = {"hidden_size": 64, "intermediate_size": 64}
    tiny.model("llama", **sizes).save_pretrained(folder)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config)
    return wrap(model, tiny.tokenizer(), "four-bit")


@pytest.mark.parametrize("kind", [Classes, Answers])
def test_a_quantised_base_is_adapted(quantised, kind, tmp_path):
    import bitsandbytes as bnb

    ids = torch.tensor([[1, 5, 9, 33]])
    before = packed_weights(quantised)
    adapter = finetune(quantised, kind(), "en", UNITS, output=tmp_path, **FAST)
    assert adapter.losses[-1] != adapter.losses[0]
    adapted = load_adapter(quantised, tmp_path)
    gate = adapted.sites.gates[0].module
    assert isinstance(gate.get_base_layer(), bnb.nn.Linear4bit)
    assert gate.lora_B["default"].weight.dtype == torch.float32
    assert torch.isfinite(adapted.model(input_ids=ids).logits).all()
    after = packed_weights(quantised)
    assert all(torch.equal(after[name], before[name]) for name in before)

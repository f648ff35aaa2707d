"""A real model, real data: killed once, continued, and read by PEFT alone in a fresh process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "real-models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
DATA = ROOT.parent / "shared" / "data" / "xnli"
STEPS = 60

TRAIN = """
import sys
import langneurons as ln
from langneurons.identification import Units
lm = ln.load(sys.argv[1])
units = Units.from_layers([range(layer % 3, 1536, 100) for layer in range(lm.layers)])
task = "xnli:" + sys.argv[2]
adapter = ln.finetune(lm, task, "en", units, output=sys.argv[3], split="dev+test[:50%]",
                      steps=int(sys.argv[4]), batch_size=8, rank=16, alpha=32,
                      learning_rate=3e-4, checkpoint_every=5)
if len(sys.argv) > 5:
    import torch
    lm.model.save_pretrained(sys.argv[5])
    ids = torch.tensor([[504, 2241, 314, 1021]])
    with torch.no_grad():
        print(ln.finetuning.load_adapter(lm, adapter).model(input_ids=ids).logits.tolist())
"""

PLAIN = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification
base = AutoModelForSequenceClassification.from_pretrained(
    sys.argv[1], num_labels=3, pad_token_id=int(sys.argv[3]), dtype=torch.float32)
model = PeftModel.from_pretrained(base, sys.argv[2]).eval()
with torch.no_grad():
    print(model(input_ids=torch.tensor([[504, 2241, 314, 1021]])).logits.tolist())
assert "langneurons" not in sys.modules
"""


@pytest.mark.real
@pytest.mark.skipif(not MODEL.is_file(), reason="run `make real-models` first")
@pytest.mark.skipif(not DATA.is_dir(), reason="the XNLI files are not there")
def test_killed_continued_and_read_by_peft(tmp_path):
    command = [sys.executable, "-c", TRAIN, str(MODEL), str(DATA), str(tmp_path / "a"), str(STEPS)]
    killed = subprocess.Popen(command)
    checkpoint = tmp_path / "a" / "checkpoint.safetensors"
    deadline = time.monotonic() + 900
    while not checkpoint.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert checkpoint.is_file()
    ours = subprocess.run(
        [*command, str(tmp_path / "base")], check=True, capture_output=True, text=True
    )
    info = json.loads((tmp_path / "a" / "langneurons.json").read_text())
    losses = [row["loss"] for row in info["losses"]]
    assert len(losses) == STEPS
    assert sum(losses[-15:]) < sum(losses[:15])
    print(info["trainable"], info["seconds"] / STEPS, losses)  # noqa: T201
    plain = subprocess.run(
        [sys.executable, "-c", PLAIN, str(tmp_path / "base"), str(tmp_path / "a"),
         str(info["pad"])],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    mine, theirs = json.loads(ours.stdout), json.loads(plain.stdout)
    assert theirs[0] == pytest.approx(mine[0], abs=1e-4)

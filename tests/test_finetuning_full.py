"""Every architecture trained whole, saved, and read again by a process that knows nothing of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny
from finetuning_world import Answers, Classes
from langneurons.finetuning import finetune, load_adapter

IDS = [[1, 5, 9, 33, 40, 7], [1, 6, 8, 12, 60, 61]]
GENERIC = ["xglm", "cohere"]
"""Families without a classification class of their own in Transformers."""

READ = """
import json, sys
import torch
import tiny
from langneurons.finetuning import load_adapter

found = {}
for family in sys.argv[2:]:
    for kind in ("classes", "answers"):
        model = load_adapter(tiny.lm(family), f"{sys.argv[1]}/{family}/{kind}").model
        with torch.no_grad():
            found[f"{family} {kind}"] = model(input_ids=torch.tensor(IDS)).logits.tolist()
json.dump(found, open(f"{sys.argv[1]}/found.json", "w"))
"""


@pytest.mark.parametrize(
    "families",
    [
        pytest.param([*GENERIC, "gpt2"], id="some"),
        pytest.param(
            [name for name in tiny.FAMILIES if name not in (*GENERIC, "gpt2")],
            id="all others",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_full_runs_load_in_another_process(families: list[str], tmp_path: Path) -> None:
    expected = {}
    for family in families:
        lm = tiny.lm(family)
        before = lm.model(input_ids=torch.tensor(IDS)).logits
        for kind, task in (("classes", Classes()), ("answers", Answers())):
            folder = tmp_path / family / kind
            finetune(
                lm, task, "en", output=folder, method="full", steps=2, batch_size=4, dtype="fp32",
                learning_rate=1e-2,
            )  # fmt: skip
            with torch.no_grad():
                here = load_adapter(lm, folder).model(input_ids=torch.tensor(IDS)).logits
            expected[f"{family} {kind}"] = here
        torch.testing.assert_close(lm.model(input_ids=torch.tensor(IDS)).logits, before)
        assert not torch.allclose(expected[f"{family} answers"], before)
    script = tmp_path / "read.py"
    script.write_text(f"IDS = {IDS}\n{READ}", encoding="utf-8")
    subprocess.run(
        [sys.executable, str(script), str(tmp_path), *families],
        check=True,
        env={**__import__("os").environ, "PYTHONPATH": ":".join(sys.path)},
    )
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.keys() == expected.keys()
    for name, logits in expected.items():
        torch.testing.assert_close(
            torch.tensor(found[name]), logits, rtol=1e-5, atol=1e-5, msg=name
        )

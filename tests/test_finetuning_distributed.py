"""Two processes, as ``accelerate launch`` starts them: whole models, or shares of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from langneurons.errors import InputError
from langneurons.finetuning.processes import Processes
from langneurons.finetuning.recipe import Recipe
from langneurons.finetuning.sharding import sharding_asked_for, sharding_settings

SCRIPT = """
import json, os, sys
import tiny, torch
import finetuning_world
from langneurons.finetuning import finetune, run
from langneurons.identification import Units
from langneurons.intervention import Intervention

torch.set_num_threads(1)
task, output, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
held = {}
whole = run.shard

def watched(model, layers, device, settings):
    frozen = lambda: [p for p in model.parameters() if not p.requires_grad]
    held["before"] = sum(p.numel() for p in frozen())
    whole(model, layers, device, settings)
    held["after"] = sum(p.to_local().numel() for p in frozen())

run.shard = watched
units = Units([0, 0, 0, 1, 1, 1], [1, 2, 17, 0, 9, 20])
if (method := options.pop("held", None)) is not None:
    options["intervention"] = Intervention(units=Units([1], [3]), value=0.0)
lm = tiny.lm()
before = {name: p.detach().clone() for name, p in lm.model.named_parameters()}
adapter = finetune(lm, getattr(finetuning_world, task)(), "en", units, output=output,
                   rank=3, learning_rate=1e-2, dtype="fp32", **options)
assert all(torch.equal(before[name], p) for name, p in lm.model.named_parameters())
rank = os.environ.get("RANK", "0")
with open(f"{output}/seen-{rank}.json", "w") as file:
    json.dump({"losses": adapter.losses, "evaluations": adapter.info["evaluations"], **held}, file)
"""

FSDP = {"fsdp_version": 2, "fsdp_reshard_after_forward": True,
        "fsdp_cpu_ram_efficient_loading": False}  # fmt: skip
RUNS = {
    # Batches of 7 are shared 4 to 3; the gradients are those of the whole batch.
    "classes": ("Classes", {"steps": 8, "batch_size": 7, "evaluate_every": 4}),
    # Of a batch of one the second process has no part.
    "answers": ("Answers", {"steps": 3, "batch_size": 1, "accumulation": 3, "evaluate_every": 3,
                            "gradient_checkpointing": True, "held": True}),
    "rows": ("Classes", {"steps": 3, "batch_size": 4, "method": "rows",
                         "projections": ["gate", "up", "down"]}),
}  # fmt: skip


def launch(folder: Path, run: str, kind: str) -> dict[str, object]:
    """Train; ``kind`` is "one" (process), "whole" (models in two) or "shares"."""
    task, options = RUNS[run]
    output = folder / kind
    script = folder / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable]
    if kind != "one":
        settings = {
            "compute_environment": "LOCAL_MACHINE",
            "distributed_type": "FSDP" if kind == "shares" else "MULTI_GPU",  # CPUs alike
            "use_cpu": True,
            "num_processes": 2,
            "num_machines": 1,
            "main_process_port": 0,
            **({"fsdp_config": FSDP} if kind == "shares" else {}),
        }
        config = folder / f"{kind}.yaml"
        config.write_text(yaml.safe_dump(settings))
        command += ["-m", "accelerate.commands.launch", "--config_file", str(config)]
    command += [str(script), task, str(output), json.dumps(options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    return {
        "weights": load_file(output / "adapter_model.safetensors"),
        "seen": [json.loads(path.read_text()) for path in sorted(output.glob("seen-*.json"))],
    }


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_two_processes_train_as_one(run, tmp_path):
    one, whole, shares = (launch(tmp_path, run, kind) for kind in ("one", "whole", "shares"))
    (alone,) = one["seen"]
    for several in (whole, shares):
        assert len(several["seen"]) == 2
        assert set(several["weights"]) == set(one["weights"])
        for name, weight in one["weights"].items():
            torch.testing.assert_close(several["weights"][name], weight, rtol=1e-3, atol=1e-4)
        for seen in several["seen"]:
            assert seen["losses"] == pytest.approx(alone["losses"], rel=1e-5)
            for row, other in zip(seen["evaluations"], alone["evaluations"], strict=True):
                assert row == pytest.approx(other, rel=1e-4)
    assert "after" not in whole["seen"][0]
    held = [seen["after"] for seen in shares["seen"]]
    assert sum(held) == shares["seen"][0]["before"]
    assert max(held) < 0.55 * sum(held)


def test_sharding_is_what_accelerate_says(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert not sharding_asked_for()  # a single process has nobody to share with
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert sharding_asked_for()
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "false")
    assert not sharding_settings(Recipe()).reshard_after_forward
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    assert not sharding_asked_for()


@pytest.mark.parametrize(
    ("name", "value", "recipe", "message"),
    [
        ("FSDP_VERSION", "1", Recipe(), "use version 2"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", Recipe(), "gradient_checkpointing=True"),
        ("FSDP_VERSION", "2", Recipe(method="full"), "use method 'lora' or 'rows'"),
    ],
)
def test_what_is_not_done_is_refused(name, value, recipe, message, monkeypatch):
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "true")
    monkeypatch.setenv(name, value)
    if value == "1":
        monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "FULL_SHARD")
    with pytest.raises(InputError, match=message):
        sharding_settings(recipe)


def test_processes_about_different_runs_are_refused(monkeypatch):
    """As under FSDP's loading in one process, which leaves the others without weights."""
    processes = Processes(torch.device("cpu"))
    processes.agree("alone")
    processes.count = 2

    def gather(keys: list[str], key: str) -> None:
        keys[:] = [key, "another"]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    with pytest.raises(InputError, match="different models"):
        processes.agree("mine")


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("items", [0, 1, 2, 3, 7])
def test_shares_of_a_batch_by_definition(items, sharded):
    """All parts together are the batch; who has none runs one item where all have to run."""
    batch = list(range(items))
    parts = []
    for rank in range(3):
        one = Processes(torch.device("cpu"))
        one.count, one.rank, one.sharded = 3, rank, sharded
        part, counts = one.share(batch)
        parts += part if counts else []
        assert counts == (not sharded or rank < items)
        assert counts or part == batch[:1]
    assert sorted(parts) == batch

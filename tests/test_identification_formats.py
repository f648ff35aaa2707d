"""Neuron lists and counts as others publish them: known by their content, whatever the name."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import tiny
from langneurons.errors import ArtifactError, InputError
from langneurons.identification import NeuronSet, Units, read_counts

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
SHAPE = (2, 40)
SET = NeuronSet({"en": Units([0, 1], [3, 7]), "hi": Units([1], [39])}, SHAPE, method="lape")


@pytest.mark.parametrize("ending", [".pth", ".json", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("name", ["mask.Mistral-de76d145", "aya-1", "neurons.v2.backup"])
def test_a_list_is_known_by_its_content(tmp_path, ending, name):
    SET.save(tmp_path / f"x{ending}")
    shutil.move(tmp_path / f"x{ending}", tmp_path / name)
    again = NeuronSet.load(tmp_path / name, languages=["en", "hi"], shape=SHAPE)
    assert {lang: again[lang].pairs() for lang in again} == {
        lang: SET[lang].pairs() for lang in SET
    }


def test_torch_files_of_old_are_known_too(tmp_path):
    lists = [[torch.tensor([1]), torch.tensor([2])]]
    torch.save(lists, tmp_path / "mask.old", _use_new_zipfile_serialization=False)
    assert len(NeuronSet.load(tmp_path / "mask.old", languages=["en"], shape=SHAPE)["en"]) == 2


class Marker:
    """An object that, unpickled, makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_torch_file_is_run(tmp_path, zipped):
    torch.save(
        [[Marker(tmp_path / "ran")]], tmp_path / "n.pth", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises((InputError, ArtifactError)):
        NeuronSet.load(tmp_path / "n.pth", languages=["en"], shape=SHAPE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"x", b"language,unit\nen,3\n", b"\x00\x01"])
def test_other_content_is_refused(tmp_path, content):
    (tmp_path / "notes").write_bytes(content)
    with pytest.raises(InputError, match="or is one of these by its content"):
        NeuronSet.load(tmp_path / "notes")


def test_an_assumed_shape_is_asked_for_where_a_model_is_at_hand(tmp_path):
    lm = tiny.lm("llama")
    actual = (lm.layers, lm.sites["mlp.act"].width)
    NeuronSet({"en": Units([1], [30])}, actual).save(tmp_path / "n.csv")
    with pytest.warns(UserWarning, match="say it .--shape LAYERSxUNITS"):
        short = NeuronSet.load(tmp_path / "n.csv")
    assert short.parameters["shape"] == "assumed"
    with pytest.raises(InputError, match=r"'n.csv' does not say the shape .*--shape 2x48"):
        short.check(lm)
    whole = NeuronSet.load(tmp_path / "n.csv", shape=actual)
    whole.check(lm)
    assert "shape" not in whole.parameters


def test_languages_without_names_are_asked_for_in_both_tongues(tmp_path):
    torch.save([[torch.tensor([1])]] * 8, tmp_path / "n.pth")
    with pytest.raises(InputError, match=r"8 languages without names: .* \(-l en,zh,..., or lang"):
        NeuronSet.load(tmp_path / "n.pth")


def save(folder: Path, name: str, value) -> None:
    folder.mkdir(exist_ok=True)
    torch.save(value, folder / name)


@pytest.fixture
def counts() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {lang: torch.randint(50, 90, SHAPE, generator=generator) for lang in ("en", "hi")}


@pytest.mark.parametrize("key", ["n", "total_tokens"])
@pytest.mark.parametrize(
    "name",
    [
        "activation.{}.train.llama-7b",
        "activation.{}.pth",
        "activation.{}.Mistral-de76.pt",
        "{}.pth",
    ],
)
def test_counts_under_their_published_names(tmp_path, counts, key, name):
    folder = tmp_path / "published"
    for lang, count in counts.items():
        save(folder, name.format(lang), {key: torch.tensor(100), "over_zero": count})
    # What else lies about in such folders.
    save(folder, "neurons.pth", [[torch.tensor([1])]])
    save(folder, "mask.Mistral", [[torch.tensor([1])]])
    save(folder, "other.pth", {"weights": torch.ones(2)})
    (folder / "weights.bin").write_bytes(b"PK\x03\x04 but no zip")
    (folder / "README.md").write_text("Counts.")
    (folder / "logs").mkdir()
    found = read_counts(folder)
    assert list(found.languages) == ["en", "hi"]
    assert found.tokens == {"en": 100, "hi": 100}
    for lang, count in counts.items():
        assert torch.equal(found.count_positive[lang], count)


def test_counts_of_prompts_are_subtracted(tmp_path, counts):
    folder = tmp_path / "mgsm"
    prompts = {lang: torch.full(SHAPE, 60) for lang in counts}
    for lang, count in counts.items():
        whole = {"total_tokens": 100, "over_zero": count}
        part = {"total_tokens": 30, "over_zero": prompts[lang]}
        save(folder, f"activation.{lang}.Mistral-de76.pt", whole)
        save(folder, f"prefix.activation.{lang}.Mistral-de76.pt", part)
    with pytest.warns(UserWarning, match="counts of prompts are above those of the whole text"):
        found = read_counts(folder)
    assert found.tokens == {"en": 70, "hi": 70}
    for lang, count in counts.items():
        assert torch.equal(found.count_positive[lang], (count - 60).clamp_min(0))
    (folder / "prefix.activation.hi.Mistral-de76.pt").unlink()
    with pytest.raises(InputError, match=r"some languages alone, not of hi both"):
        read_counts(folder)


def test_folders_of_counts_that_cannot_be_used(tmp_path, counts):
    folder = tmp_path / "counts"
    save(folder, "neurons.pth", [[torch.tensor([1])]])
    with pytest.raises(InputError, match="holds no count file"):
        read_counts(folder)
    for model in ("llama-7b", "bloom-7b"):
        save(folder, f"activation.en.train.{model}", {"n": 9, "over_zero": counts["en"]})
    with pytest.raises(InputError, match=r"several count files for 'en'.*llama-7b"):
        read_counts(folder)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "activation.en.train.llama-7b").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ArtifactError, match="is damaged"):
        read_counts(broken)


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared/data beside the project")
def test_real_counts_as_published_give_the_published_neurons(tmp_path):
    """Mistral's counts on MGSM written as their authors save them, with made-up prompt counts."""
    from langneurons.identification import identify

    real = read_counts(DATA / "mistral-mgsm" / "counts.safetensors")
    for lang in real.languages:
        count, seen = real.count_positive[lang], real.tokens[lang]
        tail = f"activation.{lang}.Mistral-de76d14562b1da1ba0e52d5b245cf9c0859e2af3.pt"
        save(tmp_path / "a", tail, {"total_tokens": seen + 500, "over_zero": count + 7})
        save(tmp_path / "a", f"prefix.{tail}", {"total_tokens": 500, "over_zero": count * 0 + 7})
    read = read_counts(tmp_path / "a")
    assert read.tokens == real.tokens
    found = identify(read, method="entropy_lambda", languages=list(real.languages), top=0.01)
    published = json.loads((DATA / "mistral-mgsm/published.entropy-lambda.json").read_text())
    for lang, layers in published.items():
        expected = {(layer, unit) for layer, row in enumerate(layers) for unit in row}
        assert {tuple(pair) for pair in found[lang].pairs()} == expected

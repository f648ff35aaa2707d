"""SmolLM2 135M, a real pretrained model from a GGUF file, through the main job from end to end.

Small enough for continuous integration; the text is the Universal Declaration of Human Rights.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from langneurons.errors import InputError
from langneurons.evaluation import perplexity, perplexity_change
from langneurons.identification import identify
from langneurons.intervention import Intervention, bake, intervene
from langneurons.models import LanguageModel, load
from langneurons.statistics import Statistics, collect

MODEL = Path(__file__).resolve().parents[1] / "real-models" / "SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not MODEL.is_file(), reason="run `make real-models` first"),
]

TEXTS = {
    "en": [
        "All human beings are born free and equal in dignity and rights. They are endowed with "
        "reason and conscience and should act towards one another in a spirit of brotherhood.",
        "Everyone has the right to life, liberty and security of person.",
        "No one shall be held in slavery or servitude; slavery and the slave trade shall be "
        "prohibited in all their forms.",
        "Everyone has the right to freedom of movement and residence within the borders of each "
        "state.",
        "Everyone has the right to education. Education shall be free, at least in the elementary "
        "and fundamental stages. Elementary education shall be compulsory.",
    ],
    "es": [
        "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como "
        "están de razón y conciencia, deben comportarse fraternalmente los unos con los otros.",
        "Todo individuo tiene derecho a la vida, a la libertad y a la seguridad de su persona.",
        "Nadie estará sometido a esclavitud ni a servidumbre, la esclavitud y la trata de esclavos "
        "están prohibidas en todas sus formas.",
        "Toda persona tiene derecho a circular libremente y a elegir su residencia en el "
        "territorio de un Estado.",
        "Toda persona tiene derecho a la educación. La educación debe ser gratuita, al menos en lo "
        "concerniente a la instrucción elemental y fundamental.",
    ],
    "de": [
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft "
        "und Gewissen begabt und sollen einander im Geiste der Brüderlichkeit begegnen.",
        "Jeder hat das Recht auf Leben, Freiheit und Sicherheit der Person.",
        "Niemand darf in Sklaverei oder Leibeigenschaft gehalten werden; Sklaverei und "
        "Sklavenhandel in allen ihren Formen sind verboten.",
        "Jeder hat das Recht, sich innerhalb eines Staates frei zu bewegen und seinen "
        "Aufenthaltsort frei zu wählen.",
        "Jeder hat das Recht auf Bildung. Die Bildung ist unentgeltlich, zum mindesten der "
        "Grundschulunterricht und die grundlegende Bildung.",
    ],
}
STATISTICS = {lang: texts[:3] for lang, texts in TEXTS.items()}
HELD_OUT = {lang: texts[3:] for lang, texts in TEXTS.items()}

PLAIN = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
with torch.no_grad():
    torch.save(model(input_ids=torch.tensor([[504, 2241, 314, 1021]])).logits, sys.argv[2])
assert "langneurons" not in sys.modules
"""


@pytest.fixture(scope="module")
def smollm2() -> LanguageModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LANGNEURONS_CACHE", raising=False)
        return load(MODEL, device="cpu")


@pytest.fixture(scope="module")
def stats(smollm2: LanguageModel) -> Statistics:
    return collect(smollm2, STATISTICS, block=64)


def test_statistics_do_not_depend_on_the_batch(smollm2: LanguageModel, stats: Statistics) -> None:
    again = collect(smollm2, STATISTICS, block=64, batch_size=1)
    assert again.tokens == stats.tokens
    for lang in TEXTS:
        difference = (again.count_positive[lang] - stats.count_positive[lang]).abs()
        # Values within float32 rounding of zero may fall on either side.
        assert int(difference.max()) <= 1
        assert float((difference > 0).double().mean()) < 0.01


def test_spanish_and_german_suffer_from_their_own_neurons(
    smollm2: LanguageModel, stats: Statistics
) -> None:
    neurons = identify(stats, "lape", top=0.02)
    assert all(len(neurons[lang]) for lang in TEXTS)
    change = perplexity_change(
        smollm2, neurons, HELD_OUT, controls={"random": 3}, stats=stats
    ).summary()
    own = change.set_index("row")
    for lang in ("es", "de"):
        assert own.loc[lang, "ratio"] > own.loc[lang, "random_max"]


def test_zeroed_neurons_are_baked_and_read_elsewhere(
    smollm2: LanguageModel, stats: Statistics, tmp_path: Path
) -> None:
    units = identify(stats, "lape", top=0.02)["es"]
    off = Intervention(units=units, value=0.0)
    ids = torch.tensor([[504, 2241, 314, 1021]])
    with torch.no_grad(), intervene(smollm2, off):
        hooked = smollm2.model(input_ids=ids).logits
    bake(smollm2, off).model.save_pretrained(tmp_path / "baked")
    subprocess.run(
        [sys.executable, "-c", PLAIN, str(tmp_path / "baked"), str(tmp_path / "logits.pt")],
        check=True,
    )
    plain = torch.load(tmp_path / "logits.pt", weights_only=True)
    torch.testing.assert_close(plain, hooked, rtol=0, atol=1e-4)
    with torch.no_grad():
        untouched = smollm2.model(input_ids=ids).logits
    assert not torch.allclose(untouched, hooked, atol=1e-3)


def test_text_it_knows_is_likelier_than_noise(smollm2: LanguageModel) -> None:
    known = perplexity(smollm2, HELD_OUT["en"]).value
    noise = perplexity(smollm2, [text[::-1] for text in HELD_OUT["en"]]).value
    assert known < 60 < noise


def test_a_truncated_file_is_one_clear_line(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(MODEL.read_bytes()[:1_000_000])
    with pytest.raises(InputError) as error:
        load(cut, device="cpu")
    assert "cut.gguf" in str(error.value)
    assert "\n" not in str(error.value)

"""Which units belong to which language, how they were found, and in which model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langneurons.display import Displayed
from langneurons.errors import InputError
from langneurons.identification.controls import random_like
from langneurons.identification.formats import ASSUMED, load_neurons, save_neurons
from langneurons.identification.hub import fetch, push_to_hub, save_pretrained
from langneurons.identification.unit_sets import LanguageMissingError as LanguageMissingError
from langneurons.identification.unit_sets import UnitSets
from langneurons.models.fingerprint import same_model

if TYPE_CHECKING:
    import pandas as pd

    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics


class NeuronSet(Displayed, UnitSets):
    """Languages mapped to their units; immutable by convention.

    Every language that was asked for is a key, also one with no unit.

    Args:
        units: Language to units.
        shape: (layers, units per layer) of the model.
        site: Place in every layer where the units live.
        method: How they were found.
        parameters: All parameters of the method, and what it worked out on the way.
        model: Fingerprint of the model, as in ``LanguageModel.fingerprint``, or None if unknown.
        statistics: Fingerprint of the statistics or texts, or None if unknown.
        scores: Language to a float tensor (n,), the score of each unit in the order of
            ``units[language]``, higher is more of the language's own; may be empty.
        apart: Units that no control of this set may hold besides its own: those of the larger set
            it was cut down from.

    Raises:
        InputError: If a unit lies outside ``shape`` or scores do not fit.

    Example:
        >>> from langneurons.identification import NeuronSet, Units
        >>> neurons = NeuronSet({"en": Units([0], [1]), "hi": Units([], [])}, (2, 4))
        >>> len(neurons["en"]), len(neurons["hi"])
        (1, 0)
    """

    def per_layer(self) -> pd.DataFrame:
        """Number of units per layer: columns language, layer, units (zeros included)."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"language": language, "layer": layer, "units": len(indices)}
                for language, item in self._units.items()
                for layer, indices in enumerate(item.by_layer(self.shape[0]))
            ],
            columns=["language", "layer", "units"],
        )

    def overlap(self, other: NeuronSet | None = None) -> pd.DataFrame:
        """Units shared between languages, of this set or of this and another one.

        A unit of ``mlp.pre``, ``mlp.act`` and ``mlp.out`` is the same coordinate of the MLP's
        hidden vector, before and after the activation function and the product: sets of these
        sites are compared with each other.

        Args:
            other: A set of an equally shaped model; None compares the languages of this set.

        Returns:
            Columns language, other (languages), size, other_size, shared, jaccard, expected and
            jaccard_expected (at random placement), expected_layers (random placement that keeps
            each language's number of units per layer), p_value (hypergeometric: at least this
            many shared by chance).

        Raises:
            InputError: If the shapes or sites differ.
        """
        from langneurons.identification.overlap import overlap_table

        if other is not None:
            self._match(other, coordinates=True)
        return overlap_table(self, other)

    def random_like(
        self, seed: int, matched: str | None = None, statistics: Statistics | None = None
    ) -> NeuronSet:
        """A random control: for each language as many units in each layer, none of them in it.

        Args:
            seed: Seed of the draw; a language's control does not depend on the other languages'
                order.
            matched: None draws uniformly within the layer; ``"rate"`` draws units that are active
                equally often in that language, the fair control for a method that selects active
                units; ``"load"``, for experts alone, draws experts to which as many of the
                language's tokens are routed, each among the three of nearest load.
            statistics: Where rates and loads come from; needed for both.

        Returns:
            A set of the same sizes per language and layer. Units of any language of this set, and
            of the set it was cut down from, are avoided; where a layer has too few others, and for
            ``"load"``, only the language's own are.

        Raises:
            InputError: If a layer has too few units outside the set, or statistics are missing
                or of another shape.
        """
        return random_like(self, seed, matched=matched, statistics=statistics)

    def check(self, lm: LanguageModel) -> None:
        """Raise :class:`InputError` if this set was found in another model than ``lm``."""
        site = lm.sites[self.site]
        found = f"{self.model['name']!r}" if self.model and "name" in self.model else "another"
        actual = (lm.layers, site.common)
        if self.shape != actual and self.parameters.get("shape") == ASSUMED:
            raise InputError(
                f"{self.parameters['file']!r} does not say the shape of its model, and "
                f"{self.shape[0]} x {self.shape[1]} units, the least, was assumed: read it with "
                f"shape=({actual[0]}, {actual[1]}) (--shape {actual[0]}x{actual[1]}) if it is of "
                f"{lm.name!r}."
            )
        if self.shape != actual:
            raise InputError(
                f"these neurons were found in model {found} with {self.shape[0]} layers x "
                f"{self.shape[1]} units, but {lm.name!r} has {actual[0]} x {actual[1]} at "
                f"{self.site}: identify again on this model."
            )
        if self.model and not same_model(self.model, lm.fingerprint):
            raise InputError(
                f"these neurons were found in model {found}, whose weights differ from those of "
                f"{lm.name!r}: identify again on this model."
            )

    def save(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write to a file: ``.json`` is the own, complete format; others hold the units only.

        Args:
            path: ``.json``, ``.csv``, ``.tsv``, ``.parquet`` or ``.pth`` (the layout published
                with LAPE).
            options: See :func:`langneurons.identification.formats.save_neurons`.
        """
        save_neurons(self, Path(path), **options)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> NeuronSet:
        """Read a file written by :meth:`save`, or a list that others published.

        Args:
            path: ``.json`` (own or plain lists), ``.csv``, ``.tsv``, ``.parquet`` or ``.pth``.
            options: What such a list does not say of itself: ``languages``, ``shape``, ``site``;
                see :func:`langneurons.identification.formats.load_neurons`.
        """
        return load_neurons(cls, Path(path), **options)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``neurons.json`` and a model card into a folder, in the Hub's usual shape."""
        save_pretrained(self, Path(folder))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload neurons",
    ) -> str:
        """Upload to a Hub repository, made if it does not exist; returns the commit's address."""
        return push_to_hub(
            self, repo_id, private=private, revision=revision, commit_message=commit_message
        )

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, revision: str | None = None
    ) -> NeuronSet:
        """Read from a folder written by :meth:`save_pretrained`, or from a Hub repository."""
        return cls.load(fetch(name, revision=revision))

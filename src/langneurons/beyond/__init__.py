"""Beyond neurons: what the paper leaves open, measured.

True deactivation (:mod:`~langneurons.beyond.deactivation`, :mod:`~langneurons.beyond.crossing`),
what units carry besides language (:mod:`~langneurons.beyond.polysemanticity`), linear subspaces
(:mod:`~langneurons.beyond.subspaces`), sparse features (:mod:`~langneurons.beyond.features`) and
several models beside each other (:mod:`~langneurons.beyond.architectures`).
"""

"""Stages of a study that go beyond neurons; see :mod:`langneurons.beyond`."""

"""The parts of a study: one folder for each word that a study file can hold.

A folder has, as far as the part needs them, ``spec.py`` (its keys), ``stages.py`` (what is to be
done), ``run.py`` (what a stage does), ``tables.py`` (aggregates from the artifacts) and ``page.py``
(its section of the report, with ``figures.py`` and ``sentences.py`` where it is long); its
``__init__.py`` registers a :class:`langneurons.interface.part.Part`.
"""

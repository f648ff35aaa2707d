"""The neuron explorer: what single units do, gathered once from a run's statistics and texts.

``gather`` makes the tables from statistics (a stage of a study), ``stored`` reads them back,
``data`` turns them into what the page's script reads, ``serve`` shows the page locally.
"""

"""Steps with results on disk: each has a key and a record, and is run where it has to be."""

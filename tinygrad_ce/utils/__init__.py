"""Helpers around training: data, the datasets and the loaders that cut them into batches."""

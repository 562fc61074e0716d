"""Raw annotations and media -> packs on disk. `python -m preprocess run --config run.yaml`; the tour is in
README.md."""

__version__ = "0.1.0"

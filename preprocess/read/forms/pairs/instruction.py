"""The form of Alpaca: `instruction`, `input` (on lines below it) and `output`; LLaMA-Factory adds `history`."""

from preprocess.read.forms.pairs.pair_form import pair_form

FORM = pair_form("instruction", "output", more="input", history=True)

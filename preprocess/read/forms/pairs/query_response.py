"""The form `query`, `response` and `history`, of ms-swift."""

from preprocess.read.forms.pairs.pair_form import pair_form

FORM = pair_form("query", "response", history=True)

"""The form `prompt` and `response`."""

from preprocess.read.forms.pairs.pair_form import pair_form

FORM = pair_form("prompt", "response")

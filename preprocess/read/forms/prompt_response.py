"""The form `prompt` and `response`."""

from preprocess.read.forms.pairs import pair_form

FORM = pair_form("prompt", "response")

"""The form `question` and `answer`, of visual question answering; several answers stand in a list."""

from preprocess.read.forms.pairs.pair_form import pair_form

FORM = pair_form("question", "answer")

"""Forms that name a question and its answer by keys of their own. `pair_form.py` makes the `FORM` of each."""

"""What a run tells.

metrics.py      sums of steps -> `StepReport`, `EvaluationResult`; both -> metrics.jsonl
profile.py      some steps -> MindSpore's profile of them
reporting.py    reports -> metrics.jsonl, and a progress bar, lines of a log or TensorBoard
"""

"""What a run tells.

metrics.py      sums of steps -> `StepReport`, `EvaluationResult`; both -> metrics.jsonl
reporting.py    reports -> metrics.jsonl, and a progress bar, lines of a log or TensorBoard
"""

"""What a plan or a finished run holds, for people.

| module | in -> out |
| --- | --- |
| `terminal.py` | plan, sweep, manifest, rejects -> lines of text |
| `page.py`, `templates/` | a finished run -> one page of HTML |
| `distributions.py` | tables of the plan, batch by batch -> histograms |
| `thumbnails.py` | rejected images -> small pictures, drawn as a stage of the executor |
"""

"""Forms: how people write conversations down. A record of a known form -> `Written`: turns, and media as written.

| form | module |
| --- | --- |
| the Qwen fine-tuning scripts': `conversations` or `messages`, `<image>` and `<video>` tags in the text | `qwen.py` |
| the same with contents that are lists of parts, as chat services take them | `content_lists.py`, asked by `qwen.py` |

Every form may have a system text beside its turns (`system` or `system_prompt`).

A new form is one module with a `FORM` and one line in `table.py`. `written.py` holds the shape
that all of them give.
`near_miss.py` refuses keys that are misspelled and counts those that mean nothing to us.
"""

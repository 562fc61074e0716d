"""Forms: how people write conversations down. A record of a known form -> `Written`: turns, and media as written.

| form | module |
| --- | --- |
| the Qwen fine-tuning scripts': `conversations` or `messages`, `<image>` and `<video>` tags in the text | `qwen.py` |

A new form is one module with a `FORM` and one line in `table.py`. `written.py` holds the shape that all of them give.
`near_miss.py` refuses keys that are misspelled and counts those that mean nothing to us.
"""

"""Forms: how people write conversations down. A record of a known form -> turns, and media as written.

| form | module |
| --- | --- |
| the Qwen fine-tuning scripts': `conversations` or `messages`, `<image>` and `<video>` tags in the text | `qwen.py` |

`near_miss.py` refuses keys that are misspelled and counts those that mean nothing to us.
"""

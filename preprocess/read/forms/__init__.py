"""Forms: how people write conversations down. A record of a known form -> `Written`: turns, and media as written.

| form | module |
| --- | --- |
| the Qwen fine-tuning scripts': `conversations` or `messages`, `<image>` and `<video>` tags in the text | `qwen.py` |
| the same with contents that are lists of parts, as chat services take them | `content_lists.py`, asked by `qwen.py` |
| `texts` of the_cauldron and FineVision, pairs without tags | `texts.py` |
| `prompt` and `response` | `pairs/prompt_response.py` |
| `query`, `response`, `history` | `pairs/query_response.py` |
| `instruction`, `input`, `output`, `history` | `pairs/instruction.py` |
| `question` and `answer` | `pairs/question_answer.py` |

Every form may have a system text beside its turns (`system` or `system_prompt`).

A new form is one module with a `FORM` and one line in `table.py`. `written.py` holds the shape that all of them give,
`medium_settings.py` and `frame_lists.py` what they say of a single medium, `training_flags.py` what turns say of their
training, `tool_turns.py` what they call, `objects.py` boxes beside them. `near_miss.py` refuses keys that are
misspelled and counts those that mean nothing to us.
"""

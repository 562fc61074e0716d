"""The JSON files of a Hugging Face model folder, and the numbers that all families keep at the same places in them.

Three generations of transformers have written such folders, and all of them are read:

| | config.json | the image processor |
| --- | --- | --- |
| up to 4.51, as published | flat, `rope_theta` and `rope_scaling` | `preprocessor_config.json` |
| up to 4.57 | the language model in `text_config` | the same |
| 5 | there, and `rope_parameters` for both | `processor_config.json`, section `image_processor` |

`train` takes the language model's values and its rope from here, too, so that what can't be trained fails before
preprocessing.
"""

from shards.model_folder.folder import ModelFolder, model_files
from shards.model_folder.json_file import ModelFolderError
from shards.model_folder.rope import language_values, read_rope
from shards.model_folder.tokenizer import read_tokenizer, tokenizer_files

__all__ = [
    "ModelFolder",
    "ModelFolderError",
    "language_values",
    "model_files",
    "read_rope",
    "read_tokenizer",
    "tokenizer_files",
]

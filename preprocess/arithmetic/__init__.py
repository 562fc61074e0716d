"""The exact rules, as pure functions over integers, text and arrays; nothing here opens a file.

    header of a video       -> frame indices, seconds              frames sampled     grids.sample_frames
    height, width           -> grid_thw                            resized to         grids.image_grid, video_grid
    answers, grids          -> answers                             boxes              boxes.rewrite_answers
    turns, grids            -> input_ids, labels, runs             chat template      chat.ChatEncoder
    turns with tools        -> turns of the template               tools              tools.spell_tools
    colour planes           -> uint8 patches                       cut                patches.patchify_image, _video
    runs                    -> position_ids                        3D rope            rope.position_ids

What differs between kinds of models stands in one module a family, `<family>.py`, found by the model_type of the
constants (`families.py` holds the table and says what such a module must have). The modules named above ask it, and so
do those that encode samples or count their text. `geometry.py` and `runs.py` hold what several families' rules are made
of: two ways to choose the frames of a video, and two to limit their size, of which the configuration takes one each.
"""

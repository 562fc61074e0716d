"""Every form that a record may have becomes the same Sample; every wrong one says what is wrong with it."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import preprocess.read.forms.near_miss as module
from preprocess.errors import Reason, SampleError
from preprocess.media.parquet_cells import EmbeddedMedium
from preprocess.read.forms.near_miss import edit_distance, ignored_keys, near_miss, refuse_near_misses
from preprocess.read.forms.table import FORMS, KNOWN_KEYS
from preprocess.read.forms.written import Form
from preprocess.read.records import parse_record, split_members
from preprocess.read.registry import Dataset
from preprocess.sample import MediaSource, Sample, Turn
from tests.preprocess.workshop import MEDIUM, talk

DATASET = Dataset(name="d", annotation_path=Path("/d.json"), data_path=Path("/media"))


def parse(record: Any) -> Sample:
    return parse_record(record, DATASET, index=3, member=None)


def reject(record: Any) -> SampleError:
    with pytest.raises(SampleError) as raised:
        parse(record)
    return raised.value


def files(*names: str) -> tuple[MediaSource, ...]:
    return tuple(MediaSource(path=f"/media/{name}") for name in names)


# --- forms ---------------------------------------------------------------------------------------------------------


def test_a_record_becomes_a_sample_verbatim() -> None:
    record = talk(" <image>\n<video> Where?\u00a0\n", "\tThere. ", image="a.png", video="b.mp4", id=3)
    assert parse(record) == Sample(
        dataset="d",
        index=3,
        member=None,
        turns=(
            Turn(role="user", text=" <image>\n<video> Where?\u00a0\n"),
            Turn(role="assistant", text="\tThere. "),
        ),
        images=files("a.png"),
        videos=files("b.mp4"),
    )


ROLE_NAMES = {"from": ("human", "gpt", "system"), "role": ("user", "assistant", "system")}


@pytest.mark.parametrize("list_key", ["conversations", "messages"])
@pytest.mark.parametrize(("role_key", "text_key"), [("from", "value"), ("role", "content")])
@pytest.mark.parametrize("names", ROLE_NAMES.values(), ids=ROLE_NAMES)
def test_turns_may_be_spelled_in_either_way(
    list_key: str, role_key: str, text_key: str, names: tuple[str, str, str]
) -> None:
    user, assistant, system = names
    said = [(system, "Be brief."), (user, "One?"), (assistant, "Yes."), (user, "Two?"), (assistant, "No.")]
    record = {list_key: [{role_key: role, text_key: text} for role, text in said]}
    expected = ("system", "user", "assistant", "user", "assistant")
    assert parse(record).turns == tuple(
        Turn(role=role, text=text) for role, (_, text) in zip(expected, said, strict=True)
    )


def test_a_turn_of_a_parquet_row_may_hold_both_spellings_one_of_them_null() -> None:
    turns = [
        {"from": None, "value": None, "role": "user", "content": "Hi"},
        {"from": "gpt", "value": "Yes", "role": None, "content": None},
    ]
    assert [turn.text for turn in parse({"conversations": turns}).turns] == ["Hi", "Yes"]


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("plural", ["", "s"])
def test_media_may_be_a_text_or_a_list_under_either_name(kind: str, plural: str) -> None:
    one, two = f"<{kind}> What is this?", f"<{kind}> and <{kind}>"
    as_text = parse(talk(one, **{kind + plural: "a.x"}))
    as_list = parse(talk(one, **{kind + plural: ["a.x"]}))
    several = parse(talk(two, **{kind + plural: ["a.x", "b.x"]}))
    assert getattr(as_text, f"{kind}s") == getattr(as_list, f"{kind}s") == files("a.x")
    assert getattr(several, f"{kind}s") == files("a.x", "b.x")


ABSENT = {"absent": {}, "null": {"image": None}, "empty list": {"images": []}, "empty text": {"video": ""}}


@pytest.mark.parametrize("media", ABSENT.values(), ids=ABSENT)
def test_media_may_be_absent_null_or_empty(media: dict[str, Any]) -> None:
    sample = parse(talk(**media))
    assert (sample.images, sample.videos) == ((), ())


@pytest.mark.parametrize("other", [None, [], ""])
def test_the_other_spelling_may_be_there_when_it_holds_nothing(other: Any) -> None:
    assert parse(talk("<image>", image=other, images=["a.png"])).images == files("a.png")
    assert parse({**talk(), "messages": other}).turns == parse(talk()).turns


@pytest.fixture
def cells(tmp_path: Path) -> list[EmbeddedMedium]:
    """With bytes, with a path alone, with neither."""
    values = [{"bytes": b"x", "path": "a.png"}, {"bytes": None, "path": "b.png"}, {"bytes": None, "path": None}]
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"images": pa.array([values], pa.list_(MEDIUM))}), path)
    return [
        EmbeddedMedium(path=str(path), row=0, column="images", item=item, written=value["path"])
        for item, value in enumerate(values)
    ]


def test_media_embedded_in_parquet_stay_where_they_are_and_paths_count_where_there_are_none(
    cells: list[EmbeddedMedium],
) -> None:
    record = talk("<image><image><image>", images=["a.png", *cells[:2]])
    assert parse(record).images == (
        MediaSource(path="/media/a.png"),
        MediaSource(path=cells[0].path, row=0, column="images", item=0),
        MediaSource(path="/media/b.png"),
    )
    assert parse(talk("<image>", image=cells[0])).images == parse(record).images[1:2]
    assert parse(talk("<image>", image=cells[1])).images == parse(record).images[2:]


def test_a_cell_of_parquet_that_holds_nothing_is_no_medium(cells: list[EmbeddedMedium]) -> None:
    assert parse(talk(image=cells[2])).images == ()
    assert parse(talk("<image>", image=cells[2], images=["a.png"])).images == files("a.png")
    with pytest.raises(SampleError, match="each image must be a path; one is nothing"):
        parse(talk("<image>", images=[cells[2]]))


def test_a_ready_made_pack_is_split_into_numbered_members() -> None:
    assert list(split_members([talk("1"), "x", [talk()]])) == [(0, talk("1")), (1, "x"), (2, [talk()])]
    assert list(split_members(talk())) == [(None, talk())]
    assert list(split_members([])) == []
    assert list(split_members("x")) == [(None, "x")]


def test_keys_of_samples() -> None:
    plain = parse(talk())
    member = parse_record(talk(), DATASET, index=7, member=2)
    assert (plain.key(), plain.key(2), member.key(), member.key(1)) == ("d:3", "d:3#2", "d:7.2", "d:7.2#1")


# --- wrong values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "nothing"),
        ("text", "a string"),
        (5.0, "a number"),
        (7, "a number"),
        (True, "a boolean"),
        ([talk()], "a list"),
        (datetime.date(2026, 1, 31), "date"),
    ],
)
def test_a_record_that_is_no_object_is_bad(record: Any, said: str) -> None:
    error = reject(record)
    assert error.reason is Reason.BAD_JSON
    assert error.detail == f"a record must be an object, this is {said}"


def test_a_record_that_did_not_parse_says_so_itself() -> None:
    error = SampleError(Reason.BAD_JSON, "d.jsonl line 4")
    assert reject(error) is error


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        ({"conversations": {}}, "the turns must be a list, not an object"),
        ({"conversations": "Hi"}, "the turns must be a list, not a string"),
        ({"conversations": ["Hi"]}, "turn 0 must be an object, not a string"),
        ({"conversations": [None]}, "turn 0 must be an object, not nothing"),
        ({"conversations": [{"from": "human"}]}, "it has a string and nothing"),
        ({"conversations": [{"value": "Hi"}]}, "it has nothing and a string"),
        ({"conversations": [{"from": 5.0, "value": {}}]}, "it has a number and an object"),
        ({"messages": [{"role": "user", "content": {"type": "text", "text": "Hi"}}]}, "it has a string and an object"),
        (talk(answer="\ud800"), "turn 1 holds half a surrogate pair at 0"),
        ({**talk(), "messages": talk()["conversations"]}, "both 'conversations' and 'messages' are given; keep one"),
        (talk("<image>", image="a", images="b"), "both 'image' and 'images' are given; keep one"),
        (talk("<image>", image="a", images=["a"]), "both 'image' and 'images' are given"),
        (talk("<video>", video=["a"], videos=["a"]), "both 'video' and 'videos' are given"),
        (talk("<image>", image=5.0), "each image must be a path; one is a number"),
        (talk("<image>", image={}), "each image must be a path; one is an object"),
        (talk("<image>", image={"path": "a"}), "each image must be a path; one is an object"),
        (talk("<image>", image=b"\x89PNG"), "each image must be a path; one is bytes"),
        (talk("<image>", image=[None]), "each image must be a path; one is nothing"),
        (talk("<image>", image=[""]), "each image must be a path; one is an empty string"),
        (talk("<video>", video=[[["a"]]]), "each frame must be a path; one is a list"),
        (talk("<video>", video=False), "each video must be a path; one is a boolean"),
    ],
)
def test_values_of_the_wrong_type_are_bad(record: Any, detail: str) -> None:
    error = reject(record)
    assert error.reason is Reason.BAD_JSON
    assert detail in error.detail


@pytest.mark.parametrize(
    "record",
    [{}, {"conversations": []}, {"conversations": None}, {"messages": ""}, {"image": "a.png"}, {"text": "Hi"}],
)
def test_a_record_without_turns_has_nothing_to_say(record: dict[str, Any]) -> None:
    assert reject(record).reason is Reason.NO_TURNS


def test_a_system_turn_alone_is_no_conversation() -> None:
    system = {"from": "system", "value": "Be brief."}
    assert reject({"conversations": [system]}).reason is Reason.NO_TURNS
    assert reject({"conversations": [system, system]}).reason is Reason.NO_TURNS


def turns(*roles: str) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": role} for role in roles]}


@pytest.mark.parametrize(
    ("roles", "detail"),
    [
        (("gpt",), "turn 0 is assistant's where user's is due"),
        (("human",), "the last of 1 turns is the user's"),
        (("human", "human", "gpt"), "turn 1 is user's where assistant's is due"),
        (("human", "gpt", "gpt"), "turn 2 is assistant's where user's is due"),
        (("system", "gpt"), "turn 1 is assistant's where user's is due"),
        (("system", "system", "human", "gpt"), "turn 1 is system's where user's is due"),
        (("human", "system", "gpt"), "turn 1 is system's where assistant's is due"),
        (("human", "gpt", "system"), "turn 2 is system's where user's is due"),
        (("human", "gpt", "human"), "the last of 3 turns is the user's; there is no answer to it"),
        (("gpt", *("human", "gpt") * 5, "human"), "turn 0 is assistant's"),
        (("system", "human", *("gpt", "human") * 5), "the last of 12 turns is the user's"),
        (("human", "dog"), "turn 1 has role 'dog'; known are human, user, gpt, assistant, system, tool"),
        (("Human", "gpt"), "turn 0 has role 'Human'"),
    ],
)
def test_roles_out_of_order_are_rejected(roles: tuple[str, ...], detail: str) -> None:
    error = reject(turns(*roles))
    assert error.reason is Reason.ROLE_ORDER
    assert detail in error.detail


@given(st.lists(st.sampled_from(["human", "gpt", "system"]), min_size=1, max_size=7))
def test_exactly_the_orders_of_the_format_are_accepted(roles: list[str]) -> None:
    spoken = roles[1:] if roles[0] == "system" else roles
    legal = bool(spoken) and spoken == ["human", "gpt"] * (len(spoken) // 2)
    try:
        accepted = bool(parse(turns(*roles)))
    except SampleError:
        accepted = False
    assert accepted == legal


# --- tags ----------------------------------------------------------------------------------------------------------

PLACED = "; `media_position: start` in the registry puts media before the first question"
KEYS, MAPPED = "'conversations', 'img'", "Media under other names can be mapped by `columns`"


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        (talk("<image>"), "1 <image> tags for 0 images"),
        (talk("Hi", image="a.png"), f"0 <image> tags for 1 images{PLACED}"),
        ({**talk("<image>"), "img": "a.png"}, f"1 <image> tags for 0 images; its keys are {KEYS}. {MAPPED}"),
        (talk("<image><image>", image="a.png"), "2 <image> tags for 1 images"),
        (talk("<image>", image=["a.png", "b.png"]), "1 <image> tags for 2 images"),
        (talk("<video>", image="a.png"), "0 <image> tags for 1 images"),
        (talk("<image><video><video>", image="a.png", video="b.mp4"), "2 <video> tags for 1 videos"),
        (talk("<Image>", image="a.png"), f"0 <image> tags for 1 images{PLACED}"),
    ],
)
def test_tags_are_as_many_as_the_media(record: Any, detail: str) -> None:
    error = reject(record)
    assert error.reason is Reason.TAG_COUNT
    assert error.detail == detail


def test_tags_of_all_user_turns_count_together() -> None:
    record = talk("<image>", images=["a.png", "b.png"])
    record["conversations"] += talk("And <image>?")["conversations"]
    assert parse(record).images == files("a.png", "b.png")


@pytest.mark.parametrize("tag", ["<image>", "<video>"])
def test_a_tag_in_an_answer_or_a_system_turn_is_misplaced(tag: str) -> None:
    in_answer = talk("Hi", f"See {tag}", image="a.png")
    in_system = {"conversations": [{"from": "system", "value": tag}, *talk()["conversations"]]}
    for record, position in ((in_answer, 1), (in_system, 0)):
        error = reject(record)
        assert error.reason is Reason.MISPLACED_TAG
        assert f"turn {position} is" in error.detail


def test_special_tokens_in_text_are_text() -> None:
    assert parse(talk("<|image_pad|> <|im_end|> </image> <image/>")).images == ()


# --- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("imgae", "image"),
        ("imag", "image"),
        ("imagge", "image"),
        ("Image", "image"),
        ("Imgae", "image"),
        ("IMAGES", "images"),
        ("image ", "image"),
        ("vidoe", "video"),
        ("vdieos", "videos"),
        ("conversation", "conversations"),
        ("converstaions", "conversations"),
        ("Conversatons", "conversations"),
        ("message", "messages"),
        ("mesages", "messages"),
        # Two errors: in words of 8 letters and more.
        ("convrsatins", "conversations"),
        ("cnoversatiosn", "conversations"),
        ("mesage", "messages"),
    ],
)
def test_a_near_miss_of_a_known_key_is_refused(key: str, meant: str) -> None:
    error = reject(talk(**{key: None}))
    assert error.reason is Reason.UNKNOWN_KEYS
    assert repr(key) in error.detail
    assert repr(meant) in error.detail


HARMLESS = [
    "id",
    "source",
    "image_id",
    "video_id",
    "width",
    "score",
    "page",
    "conversation_id",
    "img",
    "imges2",
    "convrsatin",
    "meta",
    "",
    "图",
]


def test_long_keys_are_cut_where_they_are_counted() -> None:
    [key] = ignored_keys({"x" * 1_000_000: 1})
    assert len(key) == 100


def test_a_record_of_endless_keys_is_refused_without_a_look_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "near_miss", lambda *_: pytest.fail("each takes a tenth of a millisecond"))
    with pytest.raises(SampleError, match="bad_json: a record has 1,001 keys, more than 1,000"):
        refuse_near_misses({f"image{n:x}": 1 for n in range(1_001)})


def test_other_keys_are_ignored_and_named() -> None:
    record = talk(**dict.fromkeys(HARMLESS, "x"), image=None)
    assert parse(record).turns == parse(talk()).turns
    assert ignored_keys(record) == tuple(HARMLESS)
    assert [ignored_keys(other) for other in (None, "x", [talk()], SampleError(Reason.BAD_JSON, ""))] == [()] * 4


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_key_of_a_form_is_no_near_miss_in_it(form: Form) -> None:
    assert [near_miss(key, form.keys) for key in form.keys] == [None] * len(form.keys)


def test_a_very_long_key_costs_nothing() -> None:
    near_miss.cache_clear()
    assert near_miss("image" * 1_000_000, KNOWN_KEYS) is None


words = st.text(alphabet="abc", max_size=6)


@given(words, words)
def test_edit_distance_is_symmetric_and_bounded(a: str, b: str) -> None:
    distance = edit_distance(a, b)
    assert distance == edit_distance(b, a)
    assert abs(len(a) - len(b)) <= distance <= max(len(a), len(b))
    assert (distance == 0) == (a == b)


@given(words, st.integers(0, 6), st.sampled_from("abcx"))
def test_one_edit_is_a_distance_of_at_most_one(word: str, position: int, letter: str) -> None:
    position = min(position, len(word))
    inserted = word[:position] + letter + word[position:]
    deleted = word[:position] + word[position + 1 :]
    swapped = word[:position] + word[position : position + 2][::-1] + word[position + 2 :]
    assert edit_distance(word, inserted) == 1
    assert edit_distance(word, deleted) == len(word) - len(deleted)
    assert edit_distance(word, swapped) == int(swapped != word)


# --- anything at all -----------------------------------------------------------------------------------------------

odd_text = st.sampled_from(["", "a.png", "<image>", "../x", "\0", "\ud800", "human", "gpt", "system", "/media/a.png"])
odd_values = st.recursive(
    st.none() | st.booleans() | st.floats() | odd_text | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["from", "value", "role", "content", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
odd_records = odd_values | st.dictionaries(st.sampled_from([*KNOWN_KEYS, "imgae", "id", "\ud800"]), odd_values)


@given(odd_records)
def test_whatever_a_record_holds_it_is_a_sample_or_a_reject(record: Any) -> None:
    for member, raw in split_members(record):
        try:
            sample = parse_record(raw, DATASET, index=0, member=member)
        except SampleError as error:
            assert error.detail
        else:
            assert sample.turns[-1].role == "assistant"
            assert all(medium.path.startswith("/media") for medium in (*sample.images, *sample.videos))
        ignored_keys(raw)

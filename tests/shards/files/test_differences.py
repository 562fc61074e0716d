from shards.files.differences import Difference, differences


def test_each_value_that_differs_is_named_by_its_path_and_nothing_else() -> None:
    before = {"config": {"format": "arrow", "seed": 1, "limits": {"low": 1}}, "gone": 2, "same": [1]}
    now = {"config": {"format": "mindrecord", "seed": 1, "limits": {"low": 2}}, "new": {"a": 1}, "same": [1]}
    assert list(differences(before, now)) == [
        Difference("config.format", "arrow", "mindrecord"),
        Difference("config.limits.low", 1, 2),
        Difference("gone", 2, None),
        Difference("new", None, {"a": 1}),
    ]
    assert list(differences(now, now)) == []

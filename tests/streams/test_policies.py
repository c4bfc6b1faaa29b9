"""Policies in files: every problem of every file at once, each in its own line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from guardian.errors import Path as Field
from guardian.errors import PolicyError, field_name
from guardian.policy import parse_policy
from guardian.stage_notes import stage_notes
from guardian.tempering import tempering_notes
from streams.apps.check import check, main, schema, schema_text
from streams.policies import LARGEST_FILE, load_policies, read_policies, read_policy_text
from tests.guardian.policy.examples import DECLARATIONS, EVERYTHING, SCHEDULE, SIMPLE
from tests.guardian.policy.strategies import documents, few, unhurried

ROOT = Path(__file__).parents[2]


def written(value: object, field: Field = (), indent: int = 0) -> Iterator[tuple[Field, str]]:
    """A document as YAML with one thing a line, each line with the field that it is."""
    space = "  " * indent
    for part, inner in value.items() if isinstance(value, dict) else enumerate(value):  # type: ignore[arg-type]
        name = f"{json.dumps(part)}:" if isinstance(value, dict) else "-"
        inner_field = (*field, part)
        if isinstance(inner, dict | list) and inner:
            yield inner_field, f"{space}{name}"
            yield from written(inner, inner_field, indent + 1)
        else:
            yield inner_field, f"{space}{name} {json.dumps(inner)}"


def as_file(document: dict[str, Any]) -> tuple[str, dict[Field, int]]:
    pairs = list(written(document))
    # What stands below its own "-" begins there.
    lines = {field: at + line.endswith("-") for at, (field, line) in enumerate(pairs, start=1)}
    return "\n".join(line for _, line in pairs), lines


def fields(value: object, field: Field = ()) -> Iterator[Field]:
    """Every field of a document that has a value of its own."""
    if isinstance(value, dict | list):
        for part, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from fields(inner, (*field, part))
    else:
        yield field


def put(document: dict[str, Any], field: Field, value: object) -> dict[str, Any]:
    changed: Any = json.loads(json.dumps(document))
    inner = changed
    for part in field[:-1]:
        inner = inner[part]
    inner[field[-1]] = value
    return changed


def told(text: str | bytes) -> list[tuple[int | None, str, str]]:
    content = text if isinstance(text, bytes) else text.encode()
    return [(one.line, one.field, one.right) for one in read_policy_text(content, file="x.yaml").problems]


schedules: st.SearchStrategy[dict[str, Any]] = st.just(yaml.safe_load(DECLARATIONS + SCHEDULE))
WRONG: list[object] = [[["wrong"]], {"wrong": 1}, None, "", "two words", -7.5, "5 apples", "\u0000", True]
PIECES = [
    *"{}[]'|#~%\"\t\n",
    "flag", ": ", "  ", "- ", "&a ", "*a", "---\n", "guardrails", "when", "!x ", "? ", "<<: ", "on", "1:30",
]  # fmt: skip
FREE = ("owner", "name", "users", "approval", "where", "measure")
"""Fields where people write what they like: a text cannot be wrong there."""


@unhurried
@given(st.one_of(documents, schedules), st.sampled_from(WRONG), st.data())
def test_a_corrupted_field_is_told_in_its_own_line(
    document: dict[str, Any], wrong: object, data: st.DataObject
):
    """
    Whatever single field of a valid policy is corrupted, its line and its name are told, and no other.
    """
    field = data.draw(st.sampled_from(sorted(fields(document), key=str)))
    assume(not (isinstance(wrong, str) and wrong and set(FREE) & set(field)))
    assume(not (field[0] == "owner" and wrong == ""))
    assume(not (wrong == -7.5 and "range" in field))
    assume(not (isinstance(wrong, list) and field[-1] == "until"))  # it may be a list, of lines of their own
    text, lines = as_file(put(document, field, wrong))

    runs_not = ("by this version", "no earlier stage", "add stages", "must be named", "how many users a ring has")
    refused = {one for one in told(text) if not any(said in one[2] for said in runs_not)}
    named = field[:-1] if "increments" in field else field  # an increment is read as one thing
    where = {(line, name.startswith(field_name(named))) for line, name, _ in refused}

    assert {(lines[field], True)} == where, refused


@few
@given(documents, st.sampled_from(["flag", "environment", "guardrails"]))
def test_a_missing_field_is_told(document: dict[str, Any], field: str):
    """
    A field that must be there and is not is told by its name.
    """
    del document[field]

    assert [(1, field)] == [
        (line, name) for line, name, said in told(as_file(document)[0]) if "is missing" in said
    ]


@few
@given(documents, st.data())
def test_an_unknown_field_is_told_in_its_own_line(document: dict[str, Any], data: st.DataObject):
    """
    A field that nobody knows is told, wherever it stands.
    """
    known = list(fields(document))
    around = data.draw(
        st.sampled_from(sorted({(), *(one[:-1] for one in known if "where" not in one)}, key=str))
    )
    inner: Any = document
    for part in around:
        inner = inner[part]
    assume(isinstance(inner, dict) and around != ("signals",))
    text, lines = as_file(put(document, (*around, "whatever"), "some text"))

    unknown = [(line, name) for line, name, said in told(text) if "is not known here" in said]

    assert [(lines[(*around, "whatever")], field_name((*around, "whatever")))] == unknown


@few
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.lists(
            st.sampled_from(PIECES),
            max_size=40,
        ).map(lambda parts: "".join(parts).encode()),
    )
)  # fmt: skip
def test_no_content_is_a_surprise(content: bytes):
    """
    Whatever a file holds is a policy or a problem that says what to do, in one printable line.
    """
    read = read_policy_text(content, file="x.yaml")

    assert read.policies or read.problems
    assert all(problem.right and str(problem).isprintable() for problem in read.problems)


@few
@given(documents, st.text(max_size=30), st.data())
def test_no_value_is_a_surprise(document: dict[str, Any], value: str, data: st.DataObject):
    """
    Any text in any field is taken or told.
    """
    field = data.draw(st.sampled_from(sorted(fields(document), key=str)))

    read = read_policy_text(as_file(put(document, field, value))[0].encode(), file="x.yaml")

    assert read.policies or read.problems


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", None, "is empty; a policy starts with flag: NAME"),
        ("# nothing here\n---\n", None, "is empty"),
        ("- flag: x\n", 1, "is not a mapping"),
        ("just words\n", 1, "is not a mapping"),
        ("flag: x\nstages:\n\t- share: 5%\n", 3, "indent with spaces, YAML allows no tabs"),
        ("flag: x\n  environment: y\n", 2, "check the indentation"),
        ("flag: [x\n", 1, "check the indentation, quotes and brackets"),
        ("flag: 'x\n", 1, "check the indentation, quotes and brackets"),
        ("flag: x\nowner: @me\n", 2, "put the value in quotes"),
        ("flag: x\nowner: \x07\n", 2, "control character"),
        (SIMPLE.encode().replace(b"v2", b"\xe9"), 1, "is not UTF-8"),
        (SIMPLE.encode("utf-16"), 1, "is not UTF-8"),
        (SIMPLE + "owner: a\nowner: b\n", 10, "is written twice, first in line 9"),
        (SIMPLE.replace("checkout-v2", "on"), 1, "put it in quotes"),
        (SIMPLE + "owner: no\n", 9, "put it in quotes"),
        (SIMPLE + "off: a\n", 9, "YAML takes off for true or false; put it in quotes"),
        (SIMPLE.replace("checkout-v2", "123"), 1, "is not a text; put it in quotes"),
        (SIMPLE + "owner: !team checkout\n", 9, "tags (!team) are not read"),
        (SIMPLE + "signals: !!python/object:os.system {}\n", 9, "tags (tag:yaml.org,2002:python/"),
        (SIMPLE + "? [a, b]\n: c\n", 9, "a name is one word"),
        ("flag: &f x\nenvironment: *f\n", 2, "aliases (*name) are not read; write the values out"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", 2, "aliases (*name) are not read"),
        ("a: &a [*a]\n", 1, "aliases (*name) are not read"),
        ("flag: " + "[" * 5000, 1, "nested too deeply; a policy needs few levels"),
        ("flag:\n  " + "{a: " * 100 + "}" * 100, 2, "nested too deeply"),
        (SIMPLE + "false_kills: {per_day: " + "9" * 5000 + "}\n", 9, "is not a number"),
    ],
)  # fmt: skip
def test_what_yaml_makes_wrong_is_told(text: str | bytes, line: int | None, said: str):
    """
    Tabs, aliases, doubles, tags, other encodings and what is not YAML are told with their line and a way out.
    """
    assert (line, True) in [(told_line, said in right) for told_line, _, right in told(text)], told(text)


def test_a_broken_document_does_not_hide_the_ones_before_it():
    """
    What was wrong before YAML broke is told too.
    """
    assert [(1, "flag"), (4, "")] == [
        (line, field)
        for line, field, _ in told(
            "flag: a b\nenvironment: x\nguardrails: [{when: error_rate > 5%, then: kill}]\n--- {\n"
        )
    ][:2]


def test_plain_words_mean_what_they_say():
    """
    Times of day, scientific numbers and dates are not turned into something else behind people's back.
    """
    (policy,) = read_policy_text(
        f"{SIMPLE}false_kills: {{per_day: 1e-4}}\nowner: '0800'\n".encode(), file="x.yaml"
    ).policies

    assert (1e-4, "0800") == (policy.false_kills.per_day, policy.owner)
    assert [(9, "cooldown")] == [(line, field) for line, field, _ in told(f"{SIMPLE}cooldown: 1:30\n")]


def put_files(folder: Path, **texts: str) -> list[Path]:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return [folder / f"{name}.yaml" for name in texts]


def test_all_problems_of_all_files_come_at_once(tmp_path: Path):
    """
    Whoever loads policies is told everything that is wrong in all files, by one error.
    """
    put_files(tmp_path, a="flag: a b\n", b=SIMPLE, c="\t", d=f"{SIMPLE}modee: enforce\n---\nflag: z\n")

    with pytest.raises(PolicyError) as caught:
        load_policies([tmp_path, tmp_path / "none.yaml"])

    assert [
        ("a.yaml", 1, "environment"),
        ("a.yaml", 1, "flag"),
        ("a.yaml", 1, "guardrails"),
        ("c.yaml", 1, ""),
        ("d.yaml", 1, "flag"),
        ("d.yaml", 9, "modee"),
        ("d.yaml", 11, "environment"),
        ("d.yaml", 11, "guardrails"),
        ("none.yaml", None, ""),
    ] == sorted((Path(one.file).name, one.line, one.field) for one in caught.value.problems)


def test_what_cannot_be_run_is_not_loaded(tmp_path: Path):
    """
    A policy that asks for what this version cannot run is refused with its line.
    """
    ring = SIMPLE.replace("{share: 10%, for: 1h}", "{for: 1h, users: beta}")
    with pytest.raises(PolicyError, match=r"a\.yaml:\d+: stages\[0\]\.users: 'beta': .*write variations: \[treatment\]"):
        load_policies(put_files(tmp_path, a=ring))


def test_one_rollout_has_one_policy(tmp_path: Path):
    """
    A rollout that is defined twice is told with both places, even where one of them is wrong otherwise.
    """
    again = f"---\n# again\n{SIMPLE}min_units: none\n"
    first, second = put_files(tmp_path, a=f"{SIMPLE.replace('checkout-v2', 'other')}---\n{SIMPLE}", b=again)

    doubles = [one for file in read_policies([tmp_path]) for one in file.problems if one.field == "flag"]

    assert [(str(second), 3, f"this rollout is defined at {first}:10 already; keep one of them")] == [
        (one.file, one.line, one.right) for one in doubles
    ]


def test_a_schedule_and_a_policy_of_one_flag_are_doubles(tmp_path: Path):
    """
    A schedule without environment is for production, and so a double of the policy there.
    """
    search = SIMPLE.replace("checkout-v2", "new_search_algorithm")
    put_files(tmp_path, policy=search, schedule=SCHEDULE)

    problems = [one.right for file in read_policies([tmp_path]) for one in file.problems]

    assert f"this rollout is defined at {tmp_path / 'policy.yaml'}:1 already; keep one of them" in problems


def test_folders_are_read_to_the_bottom_and_each_file_once(tmp_path: Path):
    """
    Folders are read with all below, a file named twice is read once, and hidden copies are left alone.
    """
    for folder in ("team", "..2024_11_15"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.yml").write_text(SIMPLE)
    (tmp_path / "readme.md").write_text("no policy")
    (tmp_path / "..data").symlink_to("..2024_11_15")

    files = read_policies([tmp_path, tmp_path / "team", tmp_path / "team" / "a.yml"])

    assert [(str(tmp_path / "team" / "a.yml"), 1, ())] == [
        (one.file, len(one.policies), one.problems) for one in files
    ]


def test_mounted_config_maps_are_read(tmp_path: Path):
    """
    Where files are links into a hidden folder, as Kubernetes mounts them, each policy is read once.
    """
    (tmp_path / "..2024").mkdir()
    (tmp_path / "..2024" / "a.yaml").write_text(SIMPLE)
    (tmp_path / "..data").symlink_to("..2024")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")

    assert ["production|checkout-v2"] == [policy.key for policy in load_policies([tmp_path])]


def test_places_without_policies_are_told(tmp_path: Path):
    """
    Empty folders, missing files and files too large to be policies are told.
    """
    large, missing = tmp_path / "large.yaml", tmp_path / "no.yaml"
    large.write_bytes(b"#" * (LARGEST_FILE + 1))
    (tmp_path / "empty").mkdir()

    problems = [
        str(one) for file in read_policies([tmp_path / "empty", missing, large]) for one in file.problems
    ]

    assert [
        f"{tmp_path / 'empty'}: has no policies; put files ending in .yaml there",
        f"{missing}: cannot be read: No such file or directory; name a file or directory of policies",
        f"{large}: is larger than 1,000,000 bytes; is it a policy?",
    ] == problems


def run_check(*paths: Path) -> tuple[int, list[str]]:
    out = io.StringIO()
    code = check([*paths], out=out)
    return code, out.getvalue().splitlines()


def test_the_policies_that_come_along_are_fine():
    """
    What stands in config/policies can be run.
    """
    code, lines = run_check(ROOT / "config" / "policies")

    assert (0, True) == (code, lines[0].endswith("config/policies/checkout-v2.yaml: OK, 1 policy"))


def test_check_prints_files_budget_and_problems(tmp_path: Path):
    """
    The lint prints fine files, problems with their places, the false kills of a year, the count; exit 1.
    """
    other = SIMPLE.replace("v2", "v3")
    wrong, fine = put_files(
        tmp_path, a=other.replace("1.2x control", "5mss"), b=f"{SIMPLE}---\n{SIMPLE.replace('v2', 'v4')}"
    )
    advice = "'mss' does not fit error_rate; write a percentage such as 5%"
    read = parse_policy(yaml.safe_load(SIMPLE))
    notes = [*tempering_notes(read), *stage_notes(read)]

    assert (
        1,
        [
            f"{wrong}:4: guardrails[0].when: 'error_rate > 5mss': {advice}",
            f"{fine}: OK, 2 policies",
            *(f"{fine}: note: {flag}: {note}" for flag in ("checkout-v2", "checkout-v4") for note in notes),
            "False kills allowed a year: 0.732 on average, over 2 policies",
            "2 files, 1 problem",
        ],
    ) == run_check(tmp_path)


def test_check_notes_what_missing_unit_ids_cost(tmp_path: Path):
    """
    A note is no problem: the exit code stays 0. Where failures count as one each there is none.
    """
    fine, _ = put_files(tmp_path, a=SIMPLE, b=f"{SIMPLE.replace('v2', 'v3')}unit_cluster: 1\n")
    code, lines = run_check(tmp_path)

    assert (0, "2 files, 0 problems") == (code, lines[-1])
    assert [fine] == [Path(line.split(": ")[0]) for line in lines if "no unit id" in line]
    assert any("error_rate > 1.2x control: where outcomes carry no unit id" in line for line in lines)


def test_check_tells_chances_at_the_traffic_that_is_given(tmp_path: Path):
    """
    How often a literal rule is false is noted at the given traffic; with it also how long tests take, else not.
    """
    literal = SIMPLE.replace("guardrails:\n", "guardrails:\n  - {when: error_rate > 2% for 1m, then: pause, evaluate: literal}\n")
    put_files(tmp_path, a=literal)
    found = []
    for traffic, rate in (("", ""), ("50/s", "2%")):
        out = io.StringIO()
        assert 0 == check([tmp_path], traffic=traffic, rate=rate, out=out)
        found.append([line for line in out.getvalue().splitlines() if "requests/s" in line])

    assert ["of which 1 % fail" in line for line in found[0]] == [True]
    assert ["of which 2 % fail" in line for line in found[1]] == [True, False]
    assert "is found after about" in found[1][1]


def test_check_refuses_traffic_that_is_none(tmp_path: Path):
    """
    A number that cannot be read is told with its option, and the exit code is 2.
    """
    out = io.StringIO()

    assert 2 == check(list(put_files(tmp_path, a=SIMPLE)), traffic="many", out=out)
    assert out.getvalue().startswith("--traffic: 'many': requests a second")


@pytest.mark.parametrize(("written", "said"), [("true", ""), ("yes", "write true or false"), ("'true'", "write true or false")])
def test_a_switch_is_true_or_false(tmp_path: Path, written: str, said: str):
    """
    What is on or off is written true or false, and nothing else that YAML takes for it.
    """
    put_files(tmp_path, a=f"{SIMPLE}accelerate: {written}\n", b=SIMPLE.replace("v2", "v3"))
    code, lines = run_check(tmp_path)

    assert bool(said) == bool(code)
    assert any("accelerate" in line and said in line for line in lines) == bool(said)


def test_checking_nothing_is_no_success():
    """
    The lint of no files at all is not green.
    """
    assert 1 == run_check()[0]


def test_the_command_checks_and_prints_the_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """
    The module's command lints the files that it is given, or prints the schema.
    """
    codes = main([str(*put_files(tmp_path, a=SIMPLE))]), main(["--schema"])

    assert (0, 0) == codes
    assert capsys.readouterr().out.endswith(schema_text())


def test_the_committed_schema_is_current():
    """
    config/policy.schema.json is what `python -m streams.apps.check --schema` prints.
    """
    assert schema_text() == (ROOT / "config" / "policy.schema.json").read_text()


@few
@given(st.one_of(documents, schedules, st.just(yaml.safe_load(EVERYTHING))))
def test_the_schema_takes_what_the_reader_takes(document: dict[str, Any]):
    """
    Editors that use the schema do not complain about a valid policy.
    """
    jsonschema.Draft202012Validator(schema()).validate(document)


def test_the_schema_refuses_what_it_can_see():
    """
    Editors see unknown fields, wrong words and shares without their percent sign at once.
    """
    validator = jsonschema.Draft202012Validator(schema())
    wrong = yaml.safe_load(SIMPLE) | {"modee": 1, "mode": "on", "stages": [{"share": 5}]}

    found = {tuple(error.absolute_path) for error in validator.iter_errors(wrong)}

    assert {("mode",), ("stages", 0, "share"), ()} == found
